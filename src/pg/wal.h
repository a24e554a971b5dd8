/*
 * wal.h
 *		Not waiting for the write-ahead log.
 */
#ifndef STEDI_PG_WAL_H
#define STEDI_PG_WAL_H

/*
 * To be called by a process that logs much, every now and then: have the WAL writer
 * write and sync what it has logged, ahead of the time when there is no room left in
 * the buffers of the WAL.  Then every backend that wants some waits for the one that
 * does it.
 */
extern void stedi_wake_wal_writer(void);

#endif							/* STEDI_PG_WAL_H */
