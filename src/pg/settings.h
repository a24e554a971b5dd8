/*
 * settings.h
 *		The stedi.* configuration parameters.  Defined in stedi.c.
 */
#ifndef STEDI_PG_SETTINGS_H
#define STEDI_PG_SETTINGS_H

#define STEDI_VERSION "1.0"

extern int	stedi_max_record_size;	/* kB */
extern int	stedi_max_attempts;
extern int	stedi_connect_timeout;	/* ms */
extern int	stedi_idle_timeout; /* ms */
extern int	stedi_concurrency;	/* objects in flight */
extern int	stedi_prefetch_size;	/* kB buffered per object in flight */
extern int	stedi_part_size;	/* kB */
extern int	stedi_upload_concurrency;	/* parts in flight */

#endif							/* STEDI_PG_SETTINGS_H */
