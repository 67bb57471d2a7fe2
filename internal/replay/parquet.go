package replay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

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
		parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(rowsInGroup), parquet.CreatedBy("weir", "", ""),
		parquet.KeyValueMetadata(sealKey, unsealed))}
}

func (p *parquetFile[R]) Write(_ context.Context, i *Item) error {
	p.rows = p.make(p.rows[:0], i)
	_, err := p.w.Write(p.rows)
	return err
}

// Close writes the footer: without it the file can't be read.
func (p *parquetFile[R]) Close(context.Context) error {
	err := p.w.Close()
	if err == nil {
		err = seal(p.file)
	}
	return errors.Join(err, p.file.Close())
}

// A seal is the SHA-256 of a file, in the file's own metadata: of all its bytes,
// with zeros for the seal's digits. Parquet has no checksum of its headers, and
// the library reads damaged ones as other values, or past the end of memory.
const sealKey = "weir.sha256"

var unsealed = strings.Repeat("0", hex.EncodedLen(sha256.Size))

func seal(f *os.File) error {
	sum, at, err := digest(f)
	if err == nil {
		_, err = f.WriteAt([]byte(sum), at)
	}
	return err
}

// checkSeal passes files without one: of other programs.
func checkSeal(f *os.File) error {
	sum, at, err := digest(f)
	if err != nil || at < 0 {
		return err
	}
	sealed := make([]byte, len(sum))
	if _, err := f.ReadAt(sealed, at); err != nil {
		return err
	}
	if string(sealed) != sum {
		return errors.New("the file is damaged: its bytes are not those that were written")
	}
	return nil
}

// digest is what a file's seal should be, in hexadecimal digits, and where they
// are: at is -1 if it has none.
func digest(f *os.File) (sum string, at int64, err error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", 0, err
	}
	// The last bytes are the footer, its length and four of magic.
	end := make([]byte, 8)
	if _, err := f.ReadAt(end, size-int64(len(end))); err != nil {
		return "", 0, err
	}
	footer := make([]byte, min(int64(binary.LittleEndian.Uint32(end)), size-int64(len(end))))
	start := size - int64(len(end)+len(footer))
	if _, err := f.ReadAt(footer, start); err != nil {
		return "", 0, err
	}
	key := bytes.Index(footer, []byte(sealKey))
	value := key + len(sealKey) + 2 // after a field's type and the length
	if key < 0 || value+len(unsealed) > len(footer) {
		return "", -1, nil
	}
	at = start + int64(value)
	behind := at + int64(len(unsealed))
	hash := sha256.New()
	_, err = io.Copy(hash, io.MultiReader(io.NewSectionReader(f, 0, at), strings.NewReader(unsealed), io.NewSectionReader(f, behind, size-behind)))
	return hex.EncodeToString(hash.Sum(nil)), at, err
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
	if err := checkSeal(f); err != nil {
		return nil, "", &FileError{f.Name(), 0, err}
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
