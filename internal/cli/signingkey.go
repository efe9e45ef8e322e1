package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/journal"
)

func signingKeyCommand(p *Program) *cobra.Command {
	return &cobra.Command{
		Use: "signing-key FILE", GroupID: groupProve, Args: cobra.ExactArgs(1),
		Short: "Make a signing key where there is none, and print its verifier key",
		Long: `Makes the key that signs checkpoints, in FILE, and the verifier key beside it, in FILE.pub, which is printed: give that to whoever checks.
"tollkeeper serve" makes one by itself at its first start. Make it beforehand to keep a copy elsewhere, or to put it into a Secret. A key that is
there is left as it is.`,
		Example: `  tollkeeper signing-key ./keys/signing.key
  kubectl create secret generic tollkeeper-signing --from-file=signing.key=./keys/signing.key`,
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := journal.LoadSigner(args[0])
			if err != nil {
				return fmt.Errorf("signing key: %w", err)
			}
			_, err = fmt.Fprintln(p.Stdout, s.Verifier())
			return err
		},
	}
}
