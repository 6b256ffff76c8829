"""Sources: where a dataset's batches come from, beside the files that land. One file a kind.

A kept library fetches; here is what it was fetched up to. A look at a source gives *pieces*: files of rows, each with the *watermark*
at which reading goes on after it. A piece is accepted in an order that lets the stage be killed anywhere and run again:

1. the file is put aside in the store;
2. the entry with its watermark and its digest is written, which of two writers one alone can;
3. the file lands, and what was put aside is removed.

Before anything is read, a stage finishes step 3 of the entry that was written last. What lands twice is known by its digest.

    collected/<dataset>/<number>.json          entries, from 1 on
    collected/<dataset>/aside/<number>-…       files that have not landed yet
    collected/<dataset>/memory/<number>.arrow  which rows of the overlap were read (`overlap.py`)

A new kind is a class in `specs/sources.py` and a file here with `pieces(look) -> Iterator[Piece]`.
"""
