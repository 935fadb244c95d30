package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"cubby/internal/download"
	"cubby/internal/hub"
	"cubby/internal/libraries"
	"cubby/internal/libraries/install"
	"cubby/internal/platform"
	"cubby/models"
	"cubby/models/checkpoint"
	"cubby/models/importer"
	"cubby/models/lora"

	"github.com/urfave/cli/v3"
)

// Exit codes are part of the interface: scripts branch on them.
const (
	exitOK          = 0
	exitFailure     = 1   // the package cannot be imported, or there is no such model
	exitUsage       = 2   // the command line is wrong
	exitNetwork     = 3   // something could not be downloaded
	exitChecksum    = 4   // a stored file is not what was installed, or a downloaded one not what was published
	exitDisk        = 5   // the disk is full or cannot be written
	exitArchive     = 6   // the archive is damaged, or refused as unsafe
	exitUnsupported = 7   // no engine that is installed here runs the model
	exitAuth        = 8   // the platform or the hub does not take the login, or there is none
	exitInterrupted = 130 // stopped by a signal; nothing was installed
)

const exitCodes = `Exit codes: 0 done; 1 the package cannot be installed, or no such model; 2 wrong command line;
3 a download failed; 4 a stored file is damaged, or a downloaded one is not what was published; 5 the disk is full or
cannot be written; 6 the archive is damaged or refused; 7 nothing here runs such a model; 8 there is no login that the platform or the hub takes, or the model is gated; 130 interrupted, with nothing installed.`

// usageError is a mistake in the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func usageFailed(_ context.Context, _ *cli.Command, err error, _ bool) error { return usageError{err} }

// exitCode is the only place that chooses one.
func exitCode(ctx context.Context, err error) int {
	var usage usageError
	var damage *models.IntegrityError
	var damaged *libraries.DamageError
	var sum *install.ChecksumError
	var network *install.NetworkError
	var archive *importer.ArchiveError
	var unsupported *checkpoint.UnsupportedError
	var brought *download.Error
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	case ctx.Err() != nil:
		return exitInterrupted
	case download.Full(err):
		return exitDisk
	case errors.As(err, &damage), errors.As(err, &damaged), errors.As(err, &sum):
		return exitChecksum
	case isAny(err, platform.Auth, platform.NoLogin, platform.BadLogin, hub.BadToken, hub.Gated, hub.Hidden, hub.Refused):
		return exitAuth
	case errors.As(err, &brought):
		return downloadCodes[brought.Kind]
	case errors.As(err, &network), isAny(err, platform.Network, platform.Server, platform.RateLimit, platform.Unreadable, platform.Expired),
		isAny(err, hub.Network, hub.Server, hub.RateLimit, hub.Unreadable, hub.NotFound, hub.NoRevision):
		return exitNetwork
	case errors.As(err, &archive):
		return exitArchive
	case errors.As(err, &unsupported), errors.Is(err, lora.ErrUnsupported):
		return exitUnsupported
	}
	return exitFailure
}

// downloadCodes are those of what a download fails with.
var downloadCodes = map[download.Kind]int{
	download.Network: exitNetwork, download.Checksum: exitChecksum, download.Disk: exitDisk, download.Auth: exitAuth, download.Usage: exitUsage,
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
}
