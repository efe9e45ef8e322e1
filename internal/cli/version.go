package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// release is set by the linker in an image's build, where there is no version
// control to ask.
var release string

// version is the release, the module's version, or the commit that it was built from.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 && info.Main.Version == "(devel)" {
			return "devel-" + s.Value[:12]
		}
	}
	return info.Main.Version
}

func versionCommand(p *Program) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use: "version", Args: cobra.NoArgs, Short: "Which tollkeeper this is, and the version of its folding rules",
		Example: "  tollkeeper version -o json",
	}
	textFlag(c, &format)
	c.RunE = func(*cobra.Command, []string) error {
		if format == "json" {
			return printJSON(p.Stdout, map[string]any{"version": version(), "go": runtime.Version(), "fold_version": usage.FoldVersion})
		}
		_, err := fmt.Fprintf(p.Stdout, "tollkeeper %s, fold v%d, %s %s/%s\n", version(), usage.FoldVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return err
	}
	return c
}
