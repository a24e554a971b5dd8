/*
 * tuple.c
 *		Forming heap tuples in one pass over the values, which is a good part of the
 *		time of a load.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupmacs.h"

#include "pg/compat.h"
#include "pg/tuple.h"

/* How the values of an attribute lie in a heap tuple. */
typedef struct Field
{
	int16		len;			/* as pg_attribute.attlen */
	uint8		align;			/* in bytes */
	bool		byval;
	bool		packable;		/* may have a varlena header of one byte */
} Field;

struct StediLayout
{
	TupleDesc	desc;
	Size		fixed_size;		/* of a tuple, but for its varlena values */
	Field		fields[FLEXIBLE_ARRAY_MEMBER];	/* one per attribute */
};

static Size size_bound(const StediLayout *layout, const Datum *values, const bool *nulls,
					   bool *has_nulls);
static Size fill_tuple(const StediLayout *layout, const Datum *values, const bool *nulls,
					   bool has_nulls, HeapTupleHeader header);

StediLayout *
stedi_layout_create(TupleDesc desc)
{
	StediLayout *layout = palloc(offsetof(StediLayout, fields) + sizeof(Field) * desc->natts);

	layout->desc = desc;
	layout->fixed_size = MAXALIGN(SizeofHeapTupleHeader + BITMAPLEN(desc->natts));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Field	   *field = &layout->fields[i];

		field->len = attribute->attlen;
		field->align = att_align_nominal(1, attribute->attalign);
		field->byval = attribute->attbyval;
		field->packable = attribute->attstorage != TYPSTORAGE_PLAIN;
		layout->fixed_size += field->align - 1 + Max(field->len, 0);
	}
	return layout;
}

HeapTuple
stedi_form_tuple(const StediLayout *layout, const Datum *values, const bool *nulls)
{
	bool		has_nulls;
	Size		size = size_bound(layout, values, nulls, &has_nulls);
	HeapTuple	tuple;

	if (size == 0)
		return heap_form_tuple(layout->desc, unconstify(Datum *, values), unconstify(bool *, nulls));

	tuple = palloc(HEAPTUPLESIZE + size);
	tuple->t_data = (HeapTupleHeader) ((char *) tuple + HEAPTUPLESIZE);
	tuple->t_tableOid = InvalidOid;
	ItemPointerSetInvalid(&tuple->t_self);
	tuple->t_len = fill_tuple(layout, values, nulls, has_nulls, tuple->t_data);
	return tuple;
}

Size
stedi_form_tuple_at(const StediLayout *layout, const Datum *values, const bool *nulls,
					char *address, Size size)
{
	bool		has_nulls;
	Size		bound = size_bound(layout, values, nulls, &has_nulls);

	if (bound == 0 || bound > size)
		return 0;
	return fill_tuple(layout, values, nulls, has_nulls, (HeapTupleHeader) address);
}

/* 0: there are values of the rarer kinds. */
static Size
size_bound(const StediLayout *layout, const Datum *values, const bool *nulls, bool *has_nulls)
{
	Size		size = layout->fixed_size;

	*has_nulls = false;
	for (int i = 0; i < layout->desc->natts; i++)
	{
		if (nulls[i])
			*has_nulls = true;
		else if (layout->fields[i].len < 0)
		{
			if (layout->fields[i].len != -1 || VARATT_IS_EXTERNAL(DatumGetPointer(values[i])))
				return 0;
			size += VARSIZE_ANY(DatumGetPointer(values[i]));
		}
	}
	return size;
}

static Size
fill_tuple(const StediLayout *layout, const Datum *values, const bool *nulls, bool has_nulls,
		   HeapTupleHeader header)
{
	int			natts = layout->desc->natts;
	char	   *data;
	Size		offset = 0;

	header->t_hoff = MAXALIGN(SizeofHeapTupleHeader + (has_nulls ? BITMAPLEN(natts) : 0));
	memset(header, 0, offsetof(HeapTupleHeaderData, t_hoff));
	memset(header->t_bits, 0, header->t_hoff - SizeofHeapTupleHeader);
	HeapTupleHeaderSetNatts(header, natts);
	header->t_infomask = has_nulls ? HEAP_HASNULL : 0;
	data = (char *) header + header->t_hoff;

	for (int i = 0; i < natts; i++)
	{
		const Field *field = &layout->fields[i];
		char	   *value = DatumGetPointer(values[i]);
		Size		length;

		if (nulls[i])
			continue;
		if (has_nulls)
			header->t_bits[i >> 3] |= 1 << (i & 7);

		if (field->len == -1 && (VARATT_IS_SHORT(value) || (field->packable && VARATT_CAN_MAKE_SHORT(value))))
		{
			length = VARATT_IS_SHORT(value) ? VARSIZE_SHORT(value) : VARATT_CONVERTED_SHORT_SIZE(value);
			SET_VARSIZE_SHORT(data + offset, length);
			memcpy(data + offset + VARHDRSZ_SHORT, VARDATA_ANY(value), length - VARHDRSZ_SHORT);
			header->t_infomask |= HEAP_HASVARWIDTH;
			offset += length;
			continue;
		}

		while ((offset & (field->align - 1)) != 0)
			data[offset++] = 0;
		if (field->byval)
		{
			store_att_byval(data + offset, values[i], field->len);
			length = field->len;
		}
		else
		{
			length = field->len > 0 ? (Size) field->len : VARSIZE(value);
			memcpy(data + offset, value, length);
			if (field->len == -1)
				header->t_infomask |= HEAP_HASVARWIDTH;
		}
		offset += length;
	}
	return header->t_hoff + offset;
}
