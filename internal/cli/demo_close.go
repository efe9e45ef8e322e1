package cli

import (
	"context"
	"fmt"
	"path/filepath"
)

// opening is what plain output begins with.
func (d *demo) opening() []string {
	lines := []string{
		fmt.Sprintf("tollkeeper demo: %d simulated vLLMs, %d customers; everything is kept in %s", len(d.engines), len(demoCustomers), d.dir),
		"API http://" + d.address.api,
	}
	for _, c := range demoCustomers {
		lines = append(lines, fmt.Sprintf("%s is known by %s", c.id, c.proof))
	}
	return lines
}

// finish lets everything arrive, closes the month, and tells.
func (d *demo) finish(ctx context.Context) error {
	for _, s := range d.engines {
		if err := s.Flush(ctx); err != nil {
			return err
		}
	}
	f, err := d.last(ctx)
	if err != nil {
		return err
	}
	d.screen.show(f)
	return d.deliver(ctx)
}

// last is the frame once everything that was sent is folded.
func (d *demo) last(ctx context.Context) (*frame, error) {
	if _, err := d.settled(ctx); err != nil {
		return nil, err
	}
	f, err := d.frame(ctx)
	if err != nil {
		return nil, err
	}
	f.ended, f.speed = true, d.speed
	f.elapsed = d.ended.Sub(d.began)
	return f, nil
}

// deliver lets the late spans come, and looks whether the books have exactly what
// the clients saw.
func (d *demo) deliver(ctx context.Context) error {
	var late int64
	for _, s := range d.engines {
		n, err := s.Release(ctx)
		if err != nil {
			return err
		}
		late += n
	}
	f, err := d.last(ctx)
	if err != nil {
		return err
	}
	if late > 0 {
		fmt.Fprintf(d.Stdout, "\nLate: %s spans came now. ", thousands(late))
	}
	if m := f.missing(); m != (bookRow{}) {
		return fmt.Errorf("the books differ from what the clients saw by %d requests, %d input and %d output tokens; %d spans were lost on their way (the server's log is %s)",
			m.requests, m.input, m.output, f.lost, filepath.Join(d.dir, demoLog))
	}
	fmt.Fprintf(d.Stdout, "The clients saw %s requests, %s input and %s output tokens, and so has tollkeeper: all of them, each once.\n",
		thousands(f.seen.Requests), thousands(f.seen.Input), thousands(f.seen.Output))
	return nil
}
