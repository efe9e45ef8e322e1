package main

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// measured is a moment, or what passed since one.
type measured struct {
	at   time.Time
	wall time.Duration
	cpu  time.Duration // ours
	busy time.Duration // of all processes
	// others is how many cores other processes took, on average: how quiet the
	// machine was.
	others float64
}

func measure() measured {
	return measured{at: time.Now(), cpu: ourCPU(), busy: allCPU()}
}

func (m measured) since() measured {
	now := measure()
	d := measured{wall: now.at.Sub(m.at), cpu: now.cpu - m.cpu, busy: now.busy - m.busy}
	d.others = max(0, (d.busy-d.cpu).Seconds()/d.wall.Seconds())
	return d
}

func ourCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// tick is the unit of /proc/stat (USER_HZ), the same on all that Go runs on.
const tick = 10 * time.Millisecond

// allCPU is the time that all processes took, by Linux; 0 elsewhere.
func allCPU() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	var user, nice, system, idle, wait, irq, soft int64
	if _, err := fmt.Sscanf(string(b), "cpu %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &wait, &irq, &soft); err != nil {
		return 0
	}
	return time.Duration(user+nice+system+irq+soft) * tick
}
