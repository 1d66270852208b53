import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import {
  ConfigProvider,
  Console,
  Effect,
  Exit,
  FileSystem,
  Layer,
  Option,
  PlatformError,
  Stream,
  Terminal
} from "effect"
import { Command } from "effect/cli"
import { TestConsole } from "effect/testing"
import * as Keys from "../../layers/cli/Keys.ts"
import type { ReloadAnswer } from "../../src/cli/askReload.ts"
import { client } from "../../src/cli/client.ts"
import { ControlClient, ControlError } from "../../src/cli/ControlClient.ts"
import { HostAddress } from "../../src/cli/HostAddress.ts"
import { HostNames } from "../../src/cli/HostNames.ts"
import { init } from "../../src/cli/init.ts"
import { layerUsageErrors } from "../../src/cli/usageError.ts"
import { reload } from "../../src/cli/reload.ts"
import { parseWireguardConf } from "../../src/config/wireguardConf.ts"
import { key } from "../config/fixtures.ts"
import type { StatusReport } from "../../src/cli/statusReport.ts"
import { report } from "./fixtures.ts"

const text = `# Ours
endpoint: 192.0.2.1:51820
clients:
  alice: { public_key: "${key(1)}", groups: [eng] } # her laptop
resources:
  lab: { cidr: 10.20.0.0/16, allow: [eng] }
`

/**
 * `refuses`: it says who it is, and takes no changed file. `halts`: it takes it in part. `other`: it was started with another
 * file. `follows`: it goes by its site's policy. `rotates`: its key is being replaced. `moved`: it was, and alice has the one that is gone.
 */
type Gateway = "runs" | "refuses" | "halts" | "other" | "follows" | "rotates" | "moved" | "none"

const names = { added: [], changed: [], removed: [], untouched: 0 }
const reloaded = (file: string, warnings: ReadonlyArray<string>): ReloadAnswer => ({
  file,
  version: 2,
  clients: names,
  resources: names,
  grants: { added: 0, changed: 0, removed: 0, named: [] },
  resolvers: [],
  settings: [],
  sessions: { cut: 0, untouched: 0 },
  warnings,
  tookMs: 1
})

const rotating: StatusReport = {
  ...report,
  gateway: { ...report.gateway, endingKey: { publicKey: key(8), endsAt: report.at + 86_400_000 } },
  clients: report.clients.map((row) => ({ ...row, gatewayKey: "ending" }))
}
const moved: StatusReport = { ...report, clients: report.clients.map((row) => ({ ...row, gatewayKey: "gone" })) }
const reportOf = (gateway: Gateway) => (gateway === "rotates" ? rotating : gateway === "moved" ? moved : report)

const layerControl = (gateway: Gateway, directory: string) =>
  Layer.succeed(ControlClient, {
    isListening: () => Effect.succeed(gateway !== "none"),
    request: (_socket, { path }) => {
      if (gateway === "none") {
        return Effect.fail(new ControlError({ message: "no gateway is running", notRunning: true }))
      }
      if (path !== "/v1/reload") return Effect.succeed(JSON.stringify(reportOf(gateway)))
      const file = `${directory}/${gateway === "other" ? "other" : "s"}.yaml`
      return gateway === "refuses"
        ? Effect.fail(new ControlError({ message: "device cannot change while the gateway runs" }))
        : Effect.succeed(
            JSON.stringify({
              ...reloaded(file, gateway === "halts" ? ["the firewall is as it was: no nft"] : []),
              ...(gateway === "follows" ? { site: 7 } : {})
            })
          )
    },
    lines: () => Stream.empty
  })

/** `lost`: what is shown cannot be written, as on a full disk. */
const layerTerminal = (lost: boolean) =>
  Layer.succeed(
    Terminal.Terminal,
    Terminal.make({
      columns: Effect.succeed(80),
      rows: Effect.succeed(24),
      size: Effect.die("nobody looks"),
      readInput: Effect.die("nobody types"),
      readLine: Effect.die("nobody types"),
      display: (text) =>
        lost
          ? Effect.fail(PlatformError.badArgument({ module: "Terminal", method: "display" }))
          : Console.log(text.trimEnd())
    })
  )

const layers = Layer.mergeAll(
  NodeServices.layer,
  Keys.layer,
  layerUsageErrors,
  Layer.succeed(HostNames, { lookup: () => Effect.succeed(["192.0.2.1"]) }),
  Layer.succeed(HostAddress, { wayOut: Effect.succeed("192.168.1.5") }),
  ConfigProvider.layer(ConfigProvider.fromUnknown({}))
)

const cli = Command.make("sallyport").pipe(Command.withSubcommands([client, init, reload]))

/** Runs commands on a file of a new directory, `$D`. */
const inDirectory = <A, E>(
  use: (directory: string, run: Run) => Effect.Effect<A, E, FileSystem.FileSystem>,
  gateway: Gateway = "runs",
  outputLost = false
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
      }).pipe(Effect.provide([layers, layerControl(gateway, directory), layerTerminal(outputLost)]))
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

  it.effect("keeps mark, line ends and mode of a file that was written on Windows", () =>
    inDirectory((directory, run) =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const file = `${directory}/s.yaml`
        const before = `\uFEFF${text.replaceAll("\n", "\r\n")}`
        yield* fs.writeFileString(file, before)
        yield* fs.chmod(file, 0o440)
        assert.isNull((yield* run("client add bob -c $D/s.yaml")).error)
        const after = Buffer.from(yield* fs.readFile(file)).toString("utf8")
        const [entry = ""] = /^ {2}bob: .*\r\n/m.exec(after) ?? []
        assert.strictEqual(after.replace(entry, ""), before)
        assert.strictEqual((yield* fs.stat(file)).mode & 0o777, 0o440)
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

  it.live("edits what an editor has saved at the same moment, and loses nothing of it", () =>
    inDirectory((directory, run) =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const file = `${directory}/s.yaml`
        // The draft is there: the command has read the file, or is about to.
        const save = Effect.gen(function* () {
          yield* fs.exists(`${file}.edit`).pipe(Effect.repeat({ until: (there) => there }))
          yield* fs.writeFileString(file, text.replace("# Ours", "# Ours, saved"))
        })
        const [{ error }] = yield* Effect.all([run("client add bob -c $D/s.yaml"), save], { concurrency: 2 })
        const after = yield* fs.readFileString(file)

        assert.isNull(error)
        assert.include(after, "# Ours, saved")
        assert.include(after, "  bob: {")
      })
    ).pipe(Effect.provide(TestConsole.layer))
  )

  it.effect("adds nobody whose key cannot be shown, as nobody has it then", () =>
    inDirectory(
      (directory, run) =>
        Effect.gen(function* () {
          const fs = yield* FileSystem.FileSystem
          const { error } = yield* run("client add bob -c $D/s.yaml")

          assert.match(error ?? "", /^bob is not added to \S+s\.yaml: .* cannot be shown — name a file with --out$/)
          assert.strictEqual(yield* fs.readFileString(`${directory}/s.yaml`), text)
          assert.deepStrictEqual(yield* fs.readDirectory(directory), ["s.yaml"])
          assert.isNull((yield* run("client add bob --out $D/bob.conf -c $D/s.yaml")).error)
        }),
      "runs",
      true
    )
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

  it.effect("shows who has which key of the gateway while that is replaced or one has none, and is silent else", () =>
    Effect.gen(function* () {
      for (const [gateway, has] of [
        ["rotates", "old"],
        ["moved", "gone"]
      ] as const) {
        const [head, alice] = yield* listed(gateway)
        assert.deepStrictEqual(head, ["CLIENT", "IPV4", "GROUPS", "GATEWAY'S KEY", "PUBLIC KEY"])
        assert.deepStrictEqual([alice?.[0], alice?.[3]], ["alice", has])
      }
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

  it.effect("as it was started with another one, is told as a failure, too", () =>
    inDirectory(
      (directory, run) =>
        Effect.gen(function* () {
          const added = yield* run(`client add bob --public-key ${key(7)} -c $D/s.yaml`)
          const removed = yield* run("client remove bob -c $D/s.yaml")

          for (const { error } of [added, removed]) {
            assert.match(
              error ?? "",
              /^the file is changed, but the gateway at \S+ runs with \S+\/other\.yaml; \S+\/s\.yaml /
            )
          }
          assert.match(
            (yield* run("reload -c $D/s.yaml")).said,
            new RegExp(`^${directory}/other.yaml says what it said`)
          )
        }),
      "other"
    )
  )

  it.effect("or goes by its site's policy, is told with what makes it count", () =>
    inDirectory(
      (_, run) =>
        Effect.gen(function* () {
          yield* run(`client add bob --public-key ${key(7)} -c $D/s.yaml`)
          const { error, said } = yield* run("client remove bob -c $D/s.yaml")
          const reloaded = yield* run("reload -c $D/s.yaml")

          assert.isNull(error)
          assert.match(
            said,
            /^it counts from sallyport apply \S+\/s\.yaml on: the gateway goes by policy 7 of the site$/m
          )
          assert.match(
            reloaded.said,
            /^clients, resources and names are policy 7 of the site, whatever the file says: /m
          )
        }),
      "follows"
    )
  )

  it.effect("or not all of it, is told as a failure, after what has changed", () =>
    inDirectory(
      (_, run) =>
        Effect.gen(function* () {
          const added = yield* run(`client add bob --public-key ${key(7)} -c $D/s.yaml`)
          const again = yield* run("reload -c $D/s.yaml")

          assert.strictEqual(
            added.error,
            "the running gateway has taken the change, but the firewall is as it was: no nft"
          )
          assert.match(again.said, /^policy 2 is in force/m)
          assert.strictEqual(again.error, "the firewall is as it was: no nft")
        }),
      "halts"
    )
  )
})

describe("sallyport init", () => {
  it.effect("writes a file that is right and says what comes next", () =>
    inDirectory(
      (directory, run) =>
        Effect.gen(function* () {
          const { error, said } = yield* run("init -c $D/etc/new.yaml --endpoint [2001:db8::1]:5000")
          assert.isNull(error)
          const at = `--config ${directory}/etc/new.yaml`
          const [next, then] = said.split("\n").slice(-2)
          assert.strictEqual(
            next,
            `next: sallyport up ${at}, and in another shell: sallyport client add NAME --group GROUP ${at}`
          )
          assert.match(then ?? "", new RegExp(`^then .* sallyport check ${at}, sallyport reload ${at}$`))
          assert.match((yield* run("client list -c $D/etc/new.yaml")).said, /has no clients/)
          assert.isNull((yield* run(`client add bob --gateway-key ${key(8)} -c $D/etc/new.yaml`)).error)
        }),
      "none"
    )
  )

  it.effect("gives the file to the owner of its directory, whom the gateway may run as", () =>
    inDirectory((directory, run) =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const uid = process.getuid!()
        const owner = uid === 0 ? 54_321 : uid
        yield* fs.makeDirectory(`${directory}/etc`)
        yield* fs.chown(`${directory}/etc`, owner, owner === uid ? process.getgid!() : owner)
        yield* run("init -c $D/etc/new.yaml --endpoint a.example:1")
        const { mode, uid: got } = yield* fs.stat(`${directory}/etc/new.yaml`)
        assert.deepStrictEqual([Option.getOrNull(got), mode & 0o777], [owner, 0o600])
      })
    )
  )

  it.effect("guesses the endpoint, and says so in the file and on the screen", () =>
    inDirectory((directory, run) =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const { said } = yield* run("init -c $D/new.yaml")
        const guess = /is a guess, this host's address on its way out: it is private, so clients elsewhere need /
        assert.match(said, /^its endpoint, 192\.168\.1\.5:51820, is a guess, /m)
        assert.match(said, guess)
        const text = yield* fs.readFileString(`${directory}/new.yaml`)
        assert.match(text, /^# This one is a guess, [^\n]*\nendpoint: "192\.168\.1\.5:51820"$/m)
        assert.notMatch((yield* run("init -c $D/named.yaml --endpoint a.example:1")).said, /guess/)
        assert.notMatch(yield* fs.readFileString(`${directory}/named.yaml`), /guess/)
      })
    )
  )
})
