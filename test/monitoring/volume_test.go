package monitoring

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// TestVolumeFillingLive: a real tollkeeper tells a real Prometheus that its volume
// fills, and that it has room again. The chart's own Prometheus sees no kubelet, so
// tollkeeper's is the one volume whose room it is told.
func TestVolumeFillingLive(t *testing.T) {
	prometheus := program(t, "PROMETHEUS", "prometheus")
	disk := smallDisk(t, 64<<20)
	p := startPrometheus(t, prometheus, map[string]string{"tollkeeper": startTollkeeperOn(t, disk).API})
	const filling = `ALERTS{alertname="TollkeeperVolumeFilling"}`
	p.until(t, `count(tollkeeper_data_size_bytes == 67108864)`)
	if n := p.ask(t, filling); n > 0 {
		t.Error("it fires on an empty volume")
	}
	neighbour := filepath.Join(disk, "neighbour")
	write(t, neighbour, string(make([]byte, 55<<20)))
	p.until(t, filling)
	if err := os.Remove(neighbour); err != nil {
		t.Fatal(err)
	}
	p.until(t, `absent(`+filling+`)`)
}

// smallDisk mounts a file system of some bytes.
func smallDisk(t *testing.T, bytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+strconv.Itoa(bytes)); err != nil {
		t.Skipf("NOT TESTED: this machine lets us mount no tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}
