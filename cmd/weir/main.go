package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C ends the process at once; but timeout(1) sends two together.
	context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, stop) })
	os.Exit(run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitBroken = 3 // a threshold that the user asked for is broken
)

// usageError is a person's mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errSilent fails without another word: what is wrong was printed already.
var errSilent = errors.New("failed")

// brokenError says which thresholds are broken.
type brokenError struct{ what string }

func (e brokenError) Error() string { return e.what }

// run is the whole program but for the exit. args begins with the program's
// name, which makes it a plugin of kubectl or not. It returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdout: stdout, stderr: stderr, plugin: filepath.Base(args[0]) == pluginName}
	defer a.close()
	root := newRoot(a)
	root.SetArgs(args[1:])
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)

	var usage usageError
	var broken brokenError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errSilent):
		return exitFailed
	case errors.As(err, &broken):
		fmt.Fprintf(stderr, "weir: %s\n", broken)
		return exitBroken
	case errors.As(err, &usage) || !a.started:
		fmt.Fprintf(stderr, "weir: %s\nSee: %s --help\n", err, command.CommandPath())
		return exitUsage
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		fmt.Fprintln(stderr, "weir: interrupted")
		return exitFailed
	}
	fmt.Fprintf(stderr, "weir: %s\n", err)
	return exitFailed
}
