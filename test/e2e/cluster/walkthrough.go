package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	// traceID is the caller's, in the README's traceparent.
	traceID = "d5fe1dc9035165ce36952daf29686b6c"
	// serverTraceID is that of the second walk-through.
	serverTraceID = "5fd1dc9035165ce36952daf29686b6ca"
	// rolloutTime is how long all pods may take to be ready: vLLM loads a model.
	rolloutTime = 10 * time.Minute
	// arrivalTime is how long a span may take to be wherever it goes, and a
	// sample from one scrape to the next.
	arrivalTime = 2 * time.Minute
	// token stands for the reader's own.
	token = "hf_of_the_reader"
)

// blocks returns the code blocks below a heading, up to the next one.
func blocks(text, heading string) ([]string, error) {
	_, part, found := strings.Cut(text, heading+"\n")
	if !found {
		return nil, fmt.Errorf("no %q", heading)
	}
	part, _, _ = strings.Cut(part, "\n## ")
	var all []string
	for i, block := range strings.Split(part, "```") {
		if i%2 == 1 {
			_, block, _ = strings.Cut(block, "\n") // the language
			all = append(all, block)
		}
	}
	return all, nil
}

// commands returns those of a walk-through, the lines of its code blocks.
func commands(text, heading string) ([]string, error) {
	parts, err := blocks(text, heading)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, block := range parts {
		block = strings.ReplaceAll(block, "\\\n", "")
		for line := range strings.Lines(block) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				all = append(all, line)
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no commands below %q", heading)
	}
	return all, nil
}

// play plays a walk-through of the documentation. What it adds: the token, waiting
// for pods, forwarded ports in the background.
func (b *bench) play(ctx context.Context, file, heading string) error {
	text, err := os.ReadFile(filepath.Join(b.repository, file))
	if err != nil {
		return err
	}
	list, err := commands(string(text), heading)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, command := range list {
		if err := b.step(shown(command), func() (string, error) { return b.typed(ctx, command) }); err != nil {
			return err
		}
	}
	return nil
}

// shown is a command as the table shows it: on one line, without its comment.
func shown(command string) string {
	command, _, _ = strings.Cut(command, "  #")
	return strings.Join(strings.Fields(command), " ")
}

var (
	forwarded = regexp.MustCompile(`^kubectl port-forward \S+ (\d+):\d+$`)
	then      = regexp.MustCompile(`# then: (.+)$`)
)

// typed runs a command of the walk-through as a reader would.
func (b *bench) typed(ctx context.Context, command string) (seen string, err error) {
	command = strings.ReplaceAll(command, "<YOUR-TOKEN-HERE>", token)
	switch port := forwarded.FindStringSubmatch(command); {
	case port != nil:
		if err := b.ready(ctx); err != nil {
			return "", err
		}
		n, _ := strconv.Atoi(port[1])
		return "pods ready, port open", b.shell.background(ctx, command, n)
	case strings.HasPrefix(command, "make build-minikube"):
		return b.build(ctx, command)
	}
	look, poll := expectations(command)
	if look == nil {
		_, err := b.shell.run(ctx, command)
		return "done", err
	}
	if !poll {
		out, err := b.shell.run(ctx, command)
		if err != nil {
			return "", err
		}
		return look(out)
	}
	err = until(ctx, arrivalTime, "what it should show", func() (err error) {
		out, err := b.asked(ctx, command)
		if err == nil {
			seen, err = look(out)
		}
		return err
	})
	return seen, err
}

// asked runs a command, and types what its comment says behind "then:".
func (b *bench) asked(ctx context.Context, command string) (string, error) {
	typed := then.FindStringSubmatch(command)
	if typed == nil {
		return b.shell.run(ctx, command)
	}
	return b.shell.fed(ctx, command, typed[1])
}

// ready waits for all that the release runs.
func (b *bench) ready(ctx context.Context) error {
	_, err := b.shell.run(ctx, fmt.Sprintf(
		`for w in $(kubectl get deployments,statefulsets -l app.kubernetes.io/instance=vllm -o name); do kubectl rollout status --timeout=%s "$w" || exit 1; done`, rolloutTime))
	return err
}

// build makes the images. Where there is neither minikube nor a daemon, that
// says to use `make images`, whose tars the cluster takes.
func (b *bench) build(ctx context.Context, command string) (string, error) {
	out, err := b.shell.run(ctx, command)
	if err == nil {
		return "built into minikube", nil
	}
	var status exitError
	if !errors.As(err, &status) || status != 2 || !strings.Contains(out, "make images") || b.load == "" {
		return "", err
	}
	tars, err := filepath.Glob(filepath.Join(b.images, "*.tar"))
	if err != nil || len(tars) == 0 {
		return "", errors.Join(err, fmt.Errorf("no image tars in %q", b.images))
	}
	load := exec.CommandContext(ctx, b.load, tars...)
	if said, err := load.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", b.load, err, said)
	}
	return fmt.Sprintf("no minikube here, as it says; %d tars of `make images` loaded", len(tars)), nil
}
