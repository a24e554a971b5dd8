/*
 * btree_writer.h
 *		Writing a unique b-tree over a column of integers, all at once.
 */
#ifndef STEDI_PG_BTREE_WRITER_H
#define STEDI_PG_BTREE_WRITER_H

#include "utils/relcache.h"

/*
 * Can it be written so?  A unique b-tree whose first column is a bigint, and whose
 * columns all have values of one size, ordered as they are by default, ascending.
 */
extern bool stedi_btree_is_plain(Relation index);

/*
 * Fill an empty file of such an index with the rows of a heap, of which there are
 * n_rows, all inserted and none updated or deleted by this transaction.  Takes
 * maintenance_work_mem at most, in the current memory context.
 *
 * False, and nothing is written, if that is too little, there are NULLs in the
 * columns, the rows are others than said, or some are equal: ambuild() knows what to
 * do then, or to say.
 */
extern bool stedi_btree_write(Relation heap, Relation index, uint64 n_rows);

#endif							/* STEDI_PG_BTREE_WRITER_H */
