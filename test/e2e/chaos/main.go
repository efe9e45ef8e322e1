// Command chaos does to a node's containers what accidents do: it kills one
// without warning, and fills the disk that one writes to. It runs as a
// privileged Pod that sees the node's processes (hostPID), and is asked by
// `kubectl exec`.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const usage = `usage: chaos wait                   until it is told to end: what the Pod runs
       chaos kill CONTAINER          kill -9 all processes of a container, by its id
       chaos fill CONTAINER FOLDER   write into a folder of the container until its disk is full
       chaos free CONTAINER FOLDER   take that away again`

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	switch {
	case len(args) == 1 && args[0] == "wait":
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		<-ctx.Done()
		return nil
	case len(args) == 2 && args[0] == "kill":
		return kill(out, args[1])
	case len(args) == 3 && args[0] == "fill":
		return fill(out, args[1], args[2])
	case len(args) == 3 && args[0] == "free":
		return free(args[1], args[2])
	}
	return errors.New(usage)
}

// processes lists those of a container: its id is a part of their cgroup's name.
func processes(container string) ([]int, error) {
	// Kubernetes says containerd://ID.
	if _, id, found := strings.Cut(container, "://"); found {
		container = id
	}
	if len(container) < 12 {
		return nil, fmt.Errorf("%q is no container's id", container)
	}
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	var list []int
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || !bytes.Contains(b, []byte(container)) {
			continue // it ended meanwhile, or is another's
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			return nil, err
		}
		list = append(list, pid)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no process is in container %s", container)
	}
	return list, nil
}

func kill(out io.Writer, container string) error {
	list, err := processes(container)
	if err != nil {
		return err
	}
	for _, pid := range list {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("process %d: %w", pid, err)
		}
	}
	fmt.Fprintf(out, "%d processes killed\n", len(list))
	return nil
}

// filler is the file that takes the room.
const filler = "chaos.filler"

// seenBy is a path as the container's processes see it.
func seenBy(container, folder string) (string, error) {
	list, err := processes(container)
	if err != nil {
		return "", err
	}
	return filepath.Join("/proc", strconv.Itoa(list[0]), "root", folder, filler), nil
}

const chunk = 64 << 10 // bytes

func fill(out io.Writer, container, folder string) error {
	path, err := seenBy(container, folder)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	// Down to the last byte: first in large pieces, then in small ones.
	zeros, sum := make([]byte, chunk), 0
	for size := chunk; size > 0; {
		n, err := f.Write(zeros[:size])
		sum += n
		switch {
		case errors.Is(err, syscall.ENOSPC):
			size /= 2
		case err != nil:
			return err
		}
	}
	fmt.Fprintf(out, "%d bytes written, none is left\n", sum)
	return f.Sync()
}

func free(container, folder string) error {
	path, err := seenBy(container, folder)
	if err != nil {
		return err
	}
	return os.Remove(path)
}
