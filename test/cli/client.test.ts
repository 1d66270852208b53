import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, FileSystem, Layer, Stream } from "effect"
import { Command } from "effect/cli"
import { TestConsole } from "effect/testing"
import * as Keys from "../../layers/cli/Keys.ts"
import { client } from "../../src/cli/client.ts"
import { ControlClient, ControlError } from "../../src/cli/ControlClient.ts"
import { HostNames } from "../../src/cli/HostNames.ts"
import { init } from "../../src/cli/init.ts"
import { layerUsageErrors } from "../../src/cli/usageError.ts"
import { parseWireguardConf } from "../../src/config/wireguardConf.ts"
import { key } from "../config/fixtures.ts"
import { report } from "./fixtures.ts"

const text = `# Ours
endpoint: 192.0.2.1:51820
clients:
  alice: { public_key: "${key(1)}", groups: [eng] } # her laptop
resources:
  lab: { cidr: 10.20.0.0/16, allow: [eng] }
`

/** `refuses`: it says who it is, and takes no changed file. `rotates`: its key is being replaced. */
type Gateway = "runs" | "refuses" | "rotates" | "none"

const rotating = {
  ...report,
  gateway: { ...report.gateway, endingKey: { publicKey: key(8), endsAt: report.at + 86_400_000 } },
  clients: report.clients.map((row) => ({ ...row, gatewayKey: "ending" }))
}

const layerControl = (gateway: Gateway) =>
  Layer.succeed(ControlClient, {
    request: (_socket, { path }) => {
      if (gateway === "none") {
        return Effect.fail(new ControlError({ message: "no gateway is running", notRunning: true }))
      }
      return gateway === "refuses" && path === "/v1/reload"
        ? Effect.fail(new ControlError({ message: "device cannot change while the gateway runs" }))
        : Effect.succeed(JSON.stringify(gateway === "rotates" ? rotating : report))
    },
    lines: () => Stream.empty
  })

const layers = Layer.mergeAll(
  NodeServices.layer,
  Keys.layer,
  layerUsageErrors,
  Layer.succeed(HostNames, { lookup: () => Effect.succeed(["192.0.2.1"]) }),
  ConfigProvider.layer(ConfigProvider.fromUnknown({}))
)

const cli = Command.make("sallyport").pipe(Command.withSubcommands([client, init]))

/** Runs commands on a file of a new directory, `$D`. */
const inDirectory = <A, E>(
  use: (directory: string, run: Run) => Effect.Effect<A, E, FileSystem.FileSystem>,
  gateway: Gateway = "runs"
) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const directory = yield* fs.makeTempDirectoryScoped()
    yield* fs.writeFileString(`${directory}/s.yaml`, text, { mode: 0o640 })
    const run: Run = (line) =>
      Effect.gen(function* () {
        const args = line.split(" ").map((word) => word.replace("$D", directory))
        const seen = (yield* TestConsole.logLines).length
        const exit = yield* Effect.exit(Command.runWith(cli, { version: "0" })([...args]))
        const said = (yield* TestConsole.logLines).slice(seen).map(String).join("\n")
        return { said, error: Exit.isFailure(exit) ? (yield* Effect.orDie(Effect.flip(exit))).message : null }
      }).pipe(Effect.provide([layers, layerControl(gateway)]))
    return yield* use(directory, run)
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

type Run = (line: string) => Effect.Effect<{ readonly said: string; readonly error: string | null }>

describe("sallyport client add", () => {
  it.effect("shows a finished WireGuard file, and leaves the rest of the configuration as it was", () =>
    inDirectory((directory, run) =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const { error, said } = yield* run("client add bob --group eng --preshared-key -c $D/s.yaml")
        const conf = yield* Effect.fromResult(parseWireguardConf(said, "bob.conf"))
        const after = yield* fs.readFileString(`${directory}/s.yaml`)
        const [entry = ""] = /^ {2}bob: .*\n/m.exec(after) ?? []

        assert.isNull(error)
        assert.strictEqual(after.replace(entry, ""), text)
        assert.include(entry, conf.peer.presharedKey!)
        assert.strictEqual(conf.peer.publicKey, report.gateway.publicKey)
        assert.include(conf.peer.allowedIps, "10.20.0.0/16")
        assert.strictEqual((yield* fs.stat(`${directory}/s.yaml`)).mode & 0o777, 0o640)
        assert.deepStrictEqual(yield* fs.readDirectory(directory), ["s.yaml"])
        assert.isNull((yield* run("client remove bob -c $D/s.yaml")).error)
        assert.strictEqual(yield* fs.readFileString(`${directory}/s.yaml`), text)
      })
    )
  )

  it.effect("writes the WireGuard file where nobody else reads it, and follows a link to the configuration", () =>
    inDirectory((directory, run) =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        yield* fs.symlink(`${directory}/s.yaml`, `${directory}/link.yaml`)
        const { error, said } = yield* run("client add bob --out $D/bob.conf -c $D/link.yaml")

        assert.deepStrictEqual([error, said], [null, ""])
        assert.strictEqual((yield* fs.stat(`${directory}/bob.conf`)).mode & 0o777, 0o600)
        assert.match(yield* fs.readFileString(`${directory}/bob.conf`), /^PrivateKey = \S{44}$/m)
        assert.strictEqual(yield* fs.readLink(`${directory}/link.yaml`), `${directory}/s.yaml`)
      })
    )
  )

  it.live("takes its turn while others change the file", () =>
    inDirectory((directory, run) =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const names = Array.from({ length: 8 }, (_, i) => `c${i}`)
        const ends = yield* Effect.forEach(names, (name) => run(`client add ${name} -c $D/s.yaml`), {
          concurrency: "unbounded"
        })
        const after = yield* fs.readFileString(`${directory}/s.yaml`)

        assert.deepStrictEqual(
          ends.map(({ error }) => error),
          names.map(() => null)
        )
        for (const name of names) assert.include(after, `  ${name}: {`)
      })
    ).pipe(Effect.provide(TestConsole.layer))
  )

  it.effect("needs the gateway's key, which it may be told", () =>
    inDirectory(
      (_, run) =>
        Effect.gen(function* () {
          assert.match((yield* run("client add bob -c $D/s.yaml")).error ?? "", /public key is unknown.*--gateway-key/)
          assert.isNull((yield* run(`client add bob -c $D/s.yaml --gateway-key ${key(5)}`)).error)
        }),
      "none"
    )
  )
})

describe("sallyport client list", () => {
  const listed = (gateway: Gateway) =>
    inDirectory(
      (_, run) =>
        Effect.map(run("client list -c $D/s.yaml"), ({ said }) => said.split("\n").map((row) => row.split(/ {2,}/))),
      gateway
    )

  it.effect("shows who has taken the gateway's new key while that is replaced, and says nothing of it else", () =>
    Effect.gen(function* () {
      const [head, alice] = yield* listed("rotates")
      assert.deepStrictEqual(head, ["CLIENT", "IPV4", "GROUPS", "GATEWAY'S KEY", "PUBLIC KEY"])
      assert.deepStrictEqual([alice?.[0], alice?.[3]], ["alice", "old"])
      for (const gateway of ["runs", "none"] as const) {
        assert.deepStrictEqual((yield* listed(gateway))[0], ["CLIENT", "IPV4", "GROUPS", "PUBLIC KEY"])
      }
    })
  )
})

describe("a running gateway that does not take the changed file", () => {
  it.effect("is told as a failure, with what to do: a client that is removed may still be let in", () =>
    inDirectory(
      (directory, run) =>
        Effect.gen(function* () {
          const fs = yield* FileSystem.FileSystem
          const added = yield* run(`client add bob --public-key ${key(7)} -c $D/s.yaml`)
          const withBob = yield* fs.readFileString(`${directory}/s.yaml`)
          const removed = yield* run("client remove bob -c $D/s.yaml")

          for (const { error } of [added, removed]) {
            assert.match(
              error ?? "",
              /^the file is changed, but .* device cannot change .*; then run sallyport reload$/
            )
          }
          assert.include(withBob, "bob:")
          assert.notInclude(yield* fs.readFileString(`${directory}/s.yaml`), "bob:")
        }),
      "refuses"
    )
  )
})

describe("a wrong use of the clients' commands", () => {
  const wrong: ReadonlyArray<readonly [line: string, says: RegExp]> = [
    ["client add", /./],
    ["client ad bob", /./],
    ["client add a/b -c $D/s.yaml", /^name: "a\/b" is not a name — /],
    ["client add -bob -c $D/s.yaml", /./],
    [`client add ${"x".repeat(64)} -c $D/s.yaml`, /^name: .* is not a name/],
    ["client add alice -c $D/s.yaml", /has a client "alice" already — /],
    ["client add bob --group a,b -c $D/s.yaml", /^--group: "a,b" is not a name/],
    ["client add bob --group -c $D/s.yaml", /./],
    ["client add bob --public-key abc -c $D/s.yaml", /^--public-key: not a WireGuard key/],
    [`client add bob --public-key ${key(1)} -c $D/s.yaml`, /same public_key as alice/],
    [`client add bob --public-key ${key(3)} --qr -c $D/s.yaml`, /--qr needs the private key/],
    ["client add bob --qr --out $D/x -c $D/s.yaml", /exclude each other/],
    ["client add bob --out $D/s.yaml -c $D/s.yaml", /cannot be written \(AlreadyExists\)/],
    ["client add bob --out $D/no/where -c $D/s.yaml", /cannot be written \(NotFound\)/],
    ["client add bob --gateway-key x -c $D/s.yaml", /^--gateway-key: not a WireGuard key/],
    ["client add bob -c $D/none.yaml", /does not exist — make it with sallyport init/],
    ["client add bob -c $D", /is a directory/],
    ["client add bob carol -c $D/s.yaml", /./],
    ["client add bob --groups eng -c $D/s.yaml", /./],
    ["client remove", /./],
    ["client remove alcie -c $D/s.yaml", /no client is called "alcie" .* did you mean alice\?/],
    ["client remove alice -c $D/s.yaml", /without alice the file would be wrong, and stays as it is:\n.*"eng"/],
    ["client remove alice -c $D/none.yaml", /does not exist/],
    ["client remove alice --force -c $D/s.yaml", /./],
    ["client show bob -c $D/s.yaml", /no client is called "bob"/],
    ["client show", /./],
    ["client list -c $D/none.yaml", /does not exist/],
    ["client list alice -c $D/s.yaml", /./],
    ["init -c $D/s.yaml", /is there already and stays as it is/],
    ["init -c $D/new.yaml --endpoint host:99999", /^--endpoint: .* is not host:port/]
  ]
  for (const [line, says] of wrong) {
    it.effect(`changes nothing and says why: ${line.slice(0, 60)}`, () =>
      inDirectory((directory, run) =>
        Effect.gen(function* () {
          const fs = yield* FileSystem.FileSystem
          const { error } = yield* run(line)

          assert.match(error ?? "", says)
          assert.strictEqual(yield* fs.readFileString(`${directory}/s.yaml`), text)
          assert.deepStrictEqual(yield* fs.readDirectory(directory), ["s.yaml"])
        })
      )
    )
  }
})

describe("sallyport init", () => {
  it.effect("writes a file that is right and says what comes next", () =>
    inDirectory((_, run) =>
      Effect.gen(function* () {
        const { error, said } = yield* run("init -c $D/etc/new.yaml --endpoint [2001:db8::1]:5000")
        assert.isNull(error)
        assert.match(said, /next: .*sallyport check/)
        assert.match((yield* run("client list -c $D/etc/new.yaml")).said, /has no clients/)
        assert.isNull((yield* run("client add bob -c $D/etc/new.yaml")).error)
      })
    )
  )
})
