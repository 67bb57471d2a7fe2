package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"
)

const (
	rowsAtOnce  = 512     // read or written
	rowsInGroup = 1 << 16 // what a writer keeps in memory
)

// parquetFile is a sink that writes rows of one kind.
type parquetFile[R any] struct {
	file *os.File
	w    *parquet.GenericWriter[R]
	make func([]R, *Item) []R
	rows []R
}

func newParquet[R any](f *os.File, rows func([]R, *Item) []R) *parquetFile[R] {
	return &parquetFile[R]{file: f, make: rows, w: parquet.NewGenericWriter[R](f,
		parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(rowsInGroup), parquet.CreatedBy("weir", "", ""))}
}

func (p *parquetFile[R]) Write(_ context.Context, i *Item) error {
	p.rows = p.make(p.rows[:0], i)
	_, err := p.w.Write(p.rows)
	return err
}

// Close writes the footer: without it the file can't be read.
func (p *parquetFile[R]) Close(context.Context) error {
	return errors.Join(p.w.Close(), p.file.Close())
}

// openParquet reads the footer. The library panics on some files that aren't
// what they say, and so do rows.
func openParquet(f *os.File) (p *parquet.File, kind string, err error) {
	defer recovered(&err)
	info, err := f.Stat()
	if err != nil {
		return nil, "", err
	}
	p, err = parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, "", &FileError{f.Name(), 0, fmt.Errorf("it is no whole Parquet file, its writing may have been interrupted: %w", err)}
	}
	if _, ok := p.Schema().Lookup("v"); !ok {
		return nil, "", &FileError{f.Name(), 0, errNotRows}
	}
	kind = kindEvents
	if _, ok := p.Schema().Lookup("metric"); ok {
		kind = kindLatency
	}
	return p, kind, nil
}

func readParquet(f *os.File, wantLatency bool, to *rows) error {
	p, kind, err := openParquet(f)
	if err != nil {
		return err
	}
	if (kind == kindLatency) != wantLatency {
		return &FileError{f.Name(), 0, wrongKind(wantLatency)}
	}
	if wantLatency {
		return readRows(f.Name(), p, func(r *latencyRow) (int32, error) { return r.V, to.latency(r) }, to)
	}
	return readRows(f.Name(), p, func(r *eventRow) (int32, error) { return r.V, to.event(r) }, to)
}

func readRows[R any](name string, p *parquet.File, take func(*R) (version int32, err error), to *rows) (err error) {
	r := parquet.NewGenericReader[R](p)
	defer r.Close()
	var number int64
	for {
		rows := make([]R, rowsAtOnce) // items keep parts of them
		n, err := readSome(r, rows)
		for i := range rows[:n] {
			number++
			version, err := take(&rows[i])
			var played playError
			if errors.As(err, &played) {
				return played.error
			}
			if err = errors.Join(checkVersion(version), err); err != nil {
				return &FileError{name, number, err}
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return to.end()
		case err != nil:
			return &FileError{name, number + 1, err}
		}
	}
}

func readSome[R any](r *parquet.GenericReader[R], rows []R) (n int, err error) {
	defer recovered(&err)
	return r.Read(rows)
}

// recovered makes an error of a panic.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the file is damaged: %v", p)
	}
}
