package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// outputFlag is -o.
type outputFlag struct{ format string }

func (o *outputFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "table", "table, json, or ndjson (an object a line)")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(
		[]string{"table", "json", "ndjson"}, cobra.ShellCompDirectiveNoFileComp))
}

func (o *outputFlag) check() error {
	switch o.format {
	case "table", "json", "ndjson":
		return nil
	}
	return usagef("-o %q is not table, json or ndjson", o.format)
}

// writeJSON prints rows as an array with a row a line, or as objects alone.
func writeJSON[R any](w io.Writer, format string, rows []R) error {
	lines := make([][]byte, len(rows))
	for i, r := range rows {
		b, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("print: %w", err)
		}
		lines[i] = b
	}
	return writeLines(w, format, lines)
}

func writeLines(w io.Writer, format string, lines [][]byte) error {
	if format == "json" {
		return writeArray(w, lines)
	}
	for _, l := range lines {
		if _, err := w.Write(append(l, '\n')); err != nil {
			return err
		}
	}
	return nil
}

func writeArray(w io.Writer, lines [][]byte) error {
	out := []byte("[")
	for i, l := range lines {
		if i > 0 {
			out = append(out, ",\n "...)
		}
		out = append(out, l...)
	}
	_, err := w.Write(append(out, "]\n"...))
	return err
}
