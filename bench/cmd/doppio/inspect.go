package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/redis/go-redis/v9"
	"github.com/urfave/cli/v3"

	"github.com/doppio-cache/doppio/bench/internal/inspect"
	"github.com/doppio-cache/doppio/bench/internal/server"
	"github.com/doppio-cache/doppio/tiered"
)

const defaultRedis = "redis://localhost:6379"

func inspectCommand() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "what Redis holds under a key, decoded",
		ArgsUsage: "KEY",
		Description: "Reads one entry and changes nothing. The verdict is what an instance would make of the record: valid (a value that is served,\n" +
			"a negative that is believed, a lease that is waited for), absent, expired, invalidated (by a tag, a Clear, or Redis's loss of\n" +
			"memory), malformed, foreign or of another type (somebody else wrote it), or of an unknown version. Below it: the record's\n" +
			"life, tags with whether each is current, lease, how the value is stored, and where the lane stands that carries its\n" +
			"invalidations. Subscribers of the lane are instances and whoever runs doppio tail.\n\n" +
			"Values are shown only with --show-values, and of those the first 4 KiB. Passwords are never shown. Ages are by this\n" +
			"machine's clock.\n\n" +
			"   doppio inspect --cache users user:42\n" +
			"   doppio inspect --cache users --holders user:42\n" +
			"   doppio inspect --raw doppio:users:user:42 --json\n" +
			"   doppio inspect --redis redis+cluster://node1:6379,node2:6379 --cache users --show-values user:42\n\n" +
			"Exit codes: 0 there is a valid record; 1 Redis could not be asked; 2 wrong usage; 3 there is none, or it is not valid.",
		OnUsageError: usageError,
		Action:       runInspect,
		Flags: append(redisFlags(),
			&cli.StringFlag{Name: "cache", Usage: "`NAME` of the cache that KEY is in"},
			&cli.BoolFlag{Name: "raw", Usage: "KEY is a whole key in Redis, namespace:cache:key"},
			&cli.BoolFlag{Name: "holders", Usage: "ask the instances which of them hold a local copy (needs PUBSUB and PUBLISH)"},
			&cli.BoolFlag{Name: "show-values", Usage: "show the value, too"},
			&cli.BoolFlag{Name: "json", Usage: "print JSON"},
		),
	}
}

// redisFlags are those of commands that look into a running system. The URL may hold a password: help does not show it.
func redisFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "redis", Usage: "`URL` of Redis: redis[s]://…, or redis+cluster://node,node", Value: defaultRedis, DefaultText: defaultRedis,
			Sources: cli.EnvVars("REDIS_URL"),
		},
		&cli.StringFlag{Name: "namespace", Usage: "`NAME` that the fleet's keys begin with", Value: tiered.DefaultNamespace},
	}
}

// dialRedis makes the client that the flags ask for.
func dialRedis(cmd *cli.Command) (redis.UniversalClient, error) {
	rdb, err := server.NewClient(cmd.String("redis"), func(o *redis.UniversalOptions) { o.DialerRetries = 1 })
	if err != nil {
		return nil, fmt.Errorf("%w: --redis: %w", errUsage, err)
	}
	return rdb, nil
}

func runInspect(ctx context.Context, cmd *cli.Command) (err error) {
	place, err := placeOf(cmd)
	if err != nil {
		return err
	}
	rdb, err := dialRedis(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rdb.Close()) }()
	f, err := inspect.Look(ctx, rdb, place, cmd.Bool("show-values"))
	if errors.Is(err, inspect.ErrPlace) {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if err != nil {
		return err
	}
	if cmd.Bool("holders") {
		if err := f.AskHolders(ctx, rdb, place); err != nil {
			return err
		}
	}
	if cmd.Bool("json") {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		err = e.Encode(f)
	} else {
		err = f.WriteText(os.Stdout)
	}
	if err == nil && !f.Found() {
		err = notValidError{f.Verdict}
	}
	return err
}

// notValidError says what is where a valid record was looked for.
type notValidError struct{ verdict inspect.Verdict }

func (e notValidError) Error() string { return "no valid record: " + string(e.verdict) }

// Is makes it end the command like other findings that are not as they should be.
func (e notValidError) Is(target error) bool { return target == errUnclean }

// placeOf reads where to look.
func placeOf(cmd *cli.Command) (inspect.Place, error) {
	if cmd.NArg() != 1 {
		return inspect.Place{}, fmt.Errorf("%w: inspect takes one KEY, has %d arguments", errUsage, cmd.NArg())
	}
	key := cmd.Args().First()
	switch {
	case cmd.Bool("raw") && (cmd.IsSet("cache") || cmd.IsSet("namespace")):
		return inspect.Place{}, fmt.Errorf("%w: --raw says that KEY holds namespace and cache; --namespace and --cache say them, too", errUsage)
	case cmd.Bool("raw"):
		p, err := inspect.ParsePlace(key)
		if err != nil {
			return p, fmt.Errorf("%w: %w", errUsage, err)
		}
		return p, nil
	case cmd.String("cache") == "":
		return inspect.Place{}, fmt.Errorf("%w: --cache NAME is missing; or give a whole key with --raw", errUsage)
	}
	return inspect.Place{Namespace: cmd.String("namespace"), Cache: cmd.String("cache"), Key: key}, nil
}
