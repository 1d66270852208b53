import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, FileSystem, Layer, Logger, References, Schema, Stdio, Stream } from "effect"
import { Command } from "effect/cli"
import * as Tar from "effect/encoding/Tar"
import { TestConsole } from "effect/testing"
import type { Event } from "../../src/events/Event.ts"
import { ControlClient, ControlError } from "../../src/cli/ControlClient.ts"
import { cli } from "../../src/cli/cli.ts"
import { DoctorReport } from "../../src/cli/doctorReport.ts"
import { HostIpv6 } from "../../src/cli/HostIpv6.ts"
import { HostAddress } from "../../src/cli/HostAddress.ts"
import { HostNames } from "../../src/cli/HostNames.ts"
import { HostProbes } from "../../src/cli/HostProbes.ts"
import { type Failure, Programs } from "../../src/cli/Programs.ts"
import type { ConfigError } from "../../src/config/problem.ts"
import { HostError } from "../../src/host/HostNetwork.ts"
import { SomethingWrong } from "../../src/cli/showStatus.ts"
import { layerUsageErrors } from "../../src/cli/usageError.ts"
import * as Keys from "../../layers/cli/Keys.ts"
import * as PolicyStores from "../../layers/cli/PolicyStores.ts"
import * as StateFiles from "../../layers/cli/StateFiles.ts"
import * as NameFilesMemory from "../../layers/memory/NameFilesMemory.ts"
import { portalConfig, portalFile } from "../support/portalWorld.ts"
import { publicKeyOf } from "../../layers/host/keyText.ts"
import { parseWireguardConf } from "../../src/config/wireguardConf.ts"
import { readQr } from "../support/readQr.ts"
import { example, key } from "../config/fixtures.ts"
import { doctorHost, report } from "./fixtures.ts"

/** What the programs were asked to do. */
interface Asked {
  readonly calls: Array<ReadonlyArray<unknown>>
}

const layerPrograms = (asked: Asked, failure?: Failure) =>
  Layer.succeed(Programs, {
    up: (config, options) =>
      Effect.gen(function* () {
        const { devTools, mayStart, newKey } = options
        yield* mayStart.pipe(Effect.provide(NameFilesMemory.none))
        asked.calls.push(["up", config.clients.length, { devTools, newKey }, yield* References.MinimumLogLevel])
        if (failure !== undefined) return yield* Effect.fail(failure)
      }),
    upFirezone: (config, options) =>
      Effect.gen(function* () {
        asked.calls.push(["upFirezone", config.apiUrl, options, yield* References.MinimumLogLevel])
        if (failure !== undefined) return yield* Effect.fail(failure)
      }),
    connect: (conf, options) => Effect.sync(() => void asked.calls.push(["connect", conf.peer.endpoint.host, options])),
    connectPortal: (config) => Effect.sync(() => void asked.calls.push(["connectPortal", config.apiUrl, config.name])),
    demo: (options) => Effect.sync(() => void asked.calls.push(["demo", options])),
    devPortal: (config) => Effect.sync(() => void asked.calls.push(["devPortal", config]))
  })

const happened: ReadonlyArray<Event> = [
  { _tag: "Accepted", client: "alice", resource: "lab", domain: null },
  {
    _tag: "Refused",
    client: "alice",
    packets: 2,
    reason: "filtered",
    to: { domain: null, resource: "lab", address: "10.20.0.7", protocol: "tcp", port: 22 }
  },
  { _tag: "Question", client: "bob", domain: "evil\u001B[31m.corp", type: 1, outcome: "NameError" }
]

const dead = new Set(["/dead", "/run/sallyport/sallyport.sock"])
const layerStatus = Layer.succeed(ControlClient, {
  isListening: (path) => Effect.succeed(!dead.has(path)),
  request: (path) =>
    dead.has(path)
      ? Effect.fail(
          new ControlError({ message: `no gateway is running (nothing at ${path}) — start it`, notRunning: true })
        )
      : Effect.succeed(JSON.stringify(report)),
  lines: () => Stream.fromIterable(happened.map((event, i) => JSON.stringify({ number: i + 1, at: 0, event })))
})

const layerNames = Layer.succeed(HostNames, {
  lookup: (host) => Effect.succeed(host === "vpn.example.com" ? ["198.51.100.7"] : /^[\d.]+$/.test(host) ? [host] : [])
})

const layerProbes = Layer.succeed(HostProbes, {
  host: () => Effect.succeed(doctorHost),
  servers: () => Effect.succeed([]),
  siteHosts: () => Effect.succeed([]),
  versions: Effect.succeed({ sallyport: "9.9.9" })
})

const layerIpv6 = (missing: string | null) => Layer.succeed(HostIpv6, { missing: Effect.succeed(missing) })

const run = (
  args: ReadonlyArray<string>,
  options: {
    readonly failure?: Failure
    readonly environment?: Record<string, string>
    readonly withoutIpv6?: string
    readonly input?: string
  } = {}
) =>
  Effect.gen(function* () {
    const asked: Asked = { calls: [] }
    const exit = yield* Command.runWith(cli, { version: "9.9.9" })(args).pipe(
      Effect.provide([
        layerPrograms(asked, options.failure),
        layerNames,
        Layer.succeed(HostAddress, { wayOut: Effect.succeed(null) }),
        Stdio.layerTest({ stdin: Stream.make(new TextEncoder().encode(options.input ?? "")) }),
        layerUsageErrors,
        layerProbes,
        layerIpv6(options.withoutIpv6 ?? null),
        ConfigProvider.layer(ConfigProvider.fromUnknown(options.environment ?? {}))
      ]),
      Effect.exit
    )
    const lines = (yield* TestConsole.logLines).map(String)
    const error = Exit.isFailure(exit) ? yield* Effect.flip(exit) : undefined
    return { calls: asked.calls, text: lines.join("\n"), error }
  }).pipe(Effect.provide([NodeServices.layer, layerStatus, Keys.layer, PolicyStores.layer, StateFiles.layer]))

/** What is warned of meanwhile. */
const warned = <A, E, R>(program: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const lines: Array<string> = []
    const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
      if (logLevel === "Warn") lines.push(String(message))
    })
    yield* Effect.provide(program, Logger.layer([logger]))
    return lines
  })

const withFile = <A, E, R>(text: string, use: (file: string) => Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const file = `${yield* fs.makeTempDirectoryScoped()}/a.file`
    yield* fs.writeFileString(file, text)
    return yield* use(file)
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

describe("sallyport up", () => {
  it.effect("runs a gateway of the portal where there is a token and no configuration file", () =>
    Effect.gen(function* () {
      const environment = { FIREZONE_TOKEN: "t0ken", FIREZONE_API_URL: "ws://127.0.0.1:8081", RUST_LOG: "debug" }
      const { calls } = yield* run(["up", "--dev-tools"], { environment })
      assert.deepStrictEqual(calls, [["upFirezone", "ws://127.0.0.1:8081/", { devTools: true }, "Debug"]])
    })
  )

  it.effect("takes a named configuration file before the token", () =>
    Effect.scoped(
      withFile(example, (file) =>
        Effect.gen(function* () {
          const { calls } = yield* run(["up", "--config", file], { environment: { FIREZONE_TOKEN: "t0ken" } })
          assert.deepStrictEqual(
            calls.map((call) => call[0]),
            ["up"]
          )
        })
      )
    )
  )

  it.effect("says what is wrong with the environment in one line, without the token", () =>
    Effect.gen(function* () {
      const environment = { FIREZONE_TOKEN: "t0ken", FIREZONE_MAX_PARTITION_TIME: "soon" }
      const { calls, error } = yield* run(["up"], { environment })
      assert.lengthOf(calls, 0)
      assert.match(error?.message ?? "", /^FIREZONE_MAX_PARTITION_TIME: "soon" is no duration — write .*$/)
      assert.notInclude(error?.message, "t0ken")
    })
  )

  it.effect("runs the gateway with the checked configuration and its log level", () =>
    withFile(`${example}log_level: warn\n`, (file) =>
      Effect.gen(function* () {
        const { calls } = yield* run(["up", "--config", file, "--new-key"])
        assert.deepStrictEqual(calls, [["up", 2, { devTools: false, newKey: true }, "Warn"]])
      })
    )
  )

  it.effect("takes the file from SALLYPORT_CONFIG and lets --log-level win over it", () =>
    withFile(`${example}log_level: warn\n`, (file) =>
      Effect.gen(function* () {
        const { calls } = yield* run(["up", "--dev-tools", "--log-level", "trace"], {
          environment: { SALLYPORT_CONFIG: file }
        })
        assert.deepStrictEqual(calls, [["up", 2, { devTools: true, newKey: false }, "Trace"]])
      })
    )
  )

  it.effect("starts nothing with a wrong file", () =>
    withFile("endpoint: x\n", (file) =>
      Effect.gen(function* () {
        const { calls, error } = yield* run(["up", "--config", file])
        assert.deepStrictEqual(calls, [])
        assert.match(String(error?.message), /a\.file:1:11: endpoint: "x" is not host:port — /)
      })
    )
  )

  it.effect("starts nothing where a test of the file does not hold, unless it has only expired since", () =>
    Effect.gen(function* () {
      const tests = (...lines: ReadonlyArray<string>) => `${example}tests:\n${lines.join("\n")}\n`
      const refused = tests(
        ...Array.from({ length: 22 }, () => "  - { client: bob, reach: gitlab.corp.internal, expect: allowed }")
      )
      yield* withFile(refused, (file) =>
        Effect.gen(function* () {
          const { calls, error } = yield* run(["up", "--config", file])
          const lines = error?.message.split("\n") ?? []
          assert.deepStrictEqual(calls, [])
          assert.lengthOf(lines, 21)
          assert.match(
            lines[0]!,
            /a\.file:12:5: the test expects allowed, but bob does not reach gitlab\.corp\.internal: gitlab has .* \(.*a\.file:7\) — add bob, .*$/
          )
          assert.match(lines[20]!, /^and 2 more tests do not hold$/)
        })
      )
      const expired = tests("  - { client: bob, reach: a.svc.corp.internal, expect: allowed }").replace(
        "2027-01-01 }",
        "1970-01-01 }"
      )
      yield* withFile(expired, (file) =>
        Effect.gen(function* () {
          const { calls } = yield* run(["up", "--config", file])
          assert.lengthOf(calls, 1)
        })
      )
    })
  )

  it.effect("warns of a portal that is asked by ws://, and of files with secrets that everybody may read", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const directory = yield* fs.makeTempDirectoryScoped()
      const [token, file] = [`${directory}/FIREZONE_TOKEN`, `${directory}/a.file`]
      yield* fs.writeFileString(token, "t0ken")
      yield* fs.writeFileString(file, `${example}state_dir: ${directory}\n`)
      for (const path of [token, file]) yield* fs.chmod(path, 0o644)
      const environment = {
        CREDENTIALS_DIRECTORY: directory,
        STATE_DIRECTORY: directory,
        FIREZONE_API_URL: "ws://portal.example"
      }
      const readable = (path: string) =>
        `everybody on this host may read ${path}, which holds secrets: run "chmod 600 ${path}"`

      const [plain, ...secrets] = yield* warned(run(["up"], { environment }))
      assert.match(
        plain ?? "",
        /^the portal is asked by ws:\/\/, without encryption: whoever is on the way to portal\.example /
      )
      assert.deepStrictEqual(secrets, [readable(token)])
      assert.deepStrictEqual(yield* warned(run(["up", "--config", file])), [readable(file)])
      assert.include((yield* run(["check", "--config", file])).text, `warning: ${readable(file)}\n`)
      yield* fs.chmod(file, 0o640)
      assert.deepStrictEqual(yield* warned(run(["up", "--config", file])), [])
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.effect("fails as its program fails", () =>
    withFile(example, (file) =>
      Effect.gen(function* () {
        const failure = new HostError({ message: "no CAP_NET_ADMIN — run as root" })
        const { error } = yield* run(["up", "--config", file], { failure })
        assert.strictEqual(error, failure)
      })
    )
  )
})

describe("sallyport doctor", () => {
  it.effect("ends with the sheet, as JSON if asked, and fails where a row fails", () =>
    Effect.scoped(
      withFile(`${example}control_socket: /dead\n`, (file) =>
        Effect.gen(function* () {
          const well = yield* run(["doctor", "--config", file])
          const json = yield* run(["doctor", "--json", "--config", file])
          const missing = yield* run(["doctor", "--config", "/nowhere.yaml"])

          assert.isUndefined(well.error)
          assert.match(well.text, /^WARN {2}gateway .*none runs[^]*^PASS {2}file .* is correct[^]*^0 fail/m)
          const sheet = yield* Schema.decodeEffect(Schema.fromJsonString(DoctorReport))(json.text.split("\n").at(-1)!)
          assert.isTrue(sheet.ok)
          assert.match(missing.text.split("\n").at(-5)!, /^FAIL {2}file .*does not exist/)
          assert.instanceOf(missing.error, SomethingWrong)
        })
      )
    )
  )
})

describe("sallyport doctor at a portal", () => {
  it.effect("looks at what the environment names, and the portal in the place of the endpoint", () =>
    Effect.gen(function* () {
      const environment = { FIREZONE_TOKEN: "t0ken", FIREZONE_API_URL: "wss://vpn.example.com" }
      const { error, text } = yield* run(["doctor"], { environment })
      const wrong = yield* run(["doctor"], { environment: { ...environment, SALLYPORT_PORT: "none" } })

      assert.isUndefined(error)
      assert.match(text, /^PASS {2}file +the environment names a portal, and is correct$/m)
      assert.match(text, /^PASS {2}port +UDP port 52625 is free$/m)
      assert.match(text, /^PASS {2}endpoint +vpn\.example\.com is 198\.51\.100\.7$/m)
      assert.include(wrong.text, 'FAIL  file     SALLYPORT_PORT: "none" is no port')
      assert.notInclude(`${text}${wrong.text}`, "t0ken")
    })
  )
})

describe("sallyport bugreport", () => {
  it.effect("writes an archive of its own, for nobody else to read, and never over another file", () =>
    Effect.scoped(
      withFile(`${example}control_socket: /alive\n`, (file) =>
        Effect.gen(function* () {
          const fs = yield* FileSystem.FileSystem
          const archive = `${file}.tar`
          const written = yield* run(["bugreport", archive, "--config", file])
          const again = yield* run(["bugreport", archive, "--config", file])
          const names = yield* fs.stream(archive).pipe(
            Stream.pipeThroughChannel(Tar.decode()),
            Stream.map(({ header }) => header.path),
            Stream.runCollect
          )

          assert.isUndefined(written.error)
          assert.strictEqual((yield* fs.stat(archive)).mode & 0o777, 0o600)
          assert.includeMembers(
            [...names],
            ["README.txt", "versions.json", "doctor.txt", "config.json", "status.json", "log.ndjson"].map(
              (name) => `sallyport-bugreport/${name}`
            )
          )
          assert.match((again.error as ConfigError).message, /\.tar is there already — name another file/)
          const bytes = yield* fs.readFileString(archive)
          for (const secret of ["alice", "gitlab", "10.20.0", key(1), key(9)]) assert.notInclude(bytes, secret)
        })
      )
    )
  )
})

describe("sallyport check", () => {
  it.effect("shows what each client may reach, and what that is", () =>
    withFile(example, (file) =>
      Effect.gen(function* () {
        const { text, error, calls } = yield* run(["check", "-c", file])
        assert.isUndefined(error)
        assert.deepStrictEqual(calls, [])
        assert.include(text, `${file} is correct: 2 clients, 4 resources`)
        assert.match(text, /^alice-laptop +100\.\S+ +fd00:2021:1111:\S+ +gitlab services lab$/m)
        assert.match(text, /^bob +100\.64\.0\.77 +fd00:2021:1111:\S+ +services web$/m)
        assert.match(text, /^clients dial vpn\.example\.com:51820; the gateway listens on UDP port 51820$/m)
        assert.match(text, /^gitlab +gitlab\.corp\.internal +tcp\/22 udp\/8000-8100 tcp icmp +corp$/m)
        assert.match(text, /^lab +10\.20\.0\.0\/16 +all +-$/m)
        assert.notInclude(text, "IPv6 ")
        const without = yield* run(["check", "-c", file], { withoutIpv6: "this host has no IPv6 route: …" })
        assert.match(without.text, /^this host has no IPv6 route: …$/m)
        assert.notInclude(text, "SEVERAL")
      })
    )
  )

  it.effect("says of which site the gateway is, which others there are, and which of them serves what", () =>
    withFile(
      `${example}  build: { name: "*.tokyo.internal", site: tokyo, allow: [bob] }
state: postgres://db1
site: berlin
sites:
  berlin: { number: 0, endpoint: "vpn.example.com:51820", public_key: "${key(8)}" }
  tokyo: { number: 1, endpoint: "tokyo.example.com:51820", public_key: "${key(9)}" }
`,
      (file) =>
        Effect.gen(function* () {
          const { error, text } = yield* run(["check", "-c", file])
          assert.isUndefined(error)
          assert.include(text, `${file} is correct: 2 clients, 5 resources`)
          assert.match(text, /^the gateway is of site berlin; others are tokyo$/m)
          assert.match(text, /^bob .* services web build$/m)
          assert.match(text, /^RESOURCE .* SITE$/m)
          assert.match(text, /^build +\*\.tokyo\.internal .* tokyo$/m)
          assert.match(text, /^lab +10\.20\.0\.0\/16 .* berlin$/m)
        })
    )
  )

  it.effect("runs the tests of the file, and fails where one does not hold", () =>
    withFile(
      `${example}tests:
  - { client: alice-laptop, reach: "gitlab.corp.internal:22", expect: allowed }
  - { client: bob, reach: "10.20.0.1", expect: allowed }
`,
      (file) =>
        Effect.gen(function* () {
          const { error, text } = yield* run(["check", "-c", file])
          assert.match(text, /^✔ alice-laptop reaches gitlab\.corp\.internal:22 by gitlab$/m)
          assert.match(
            text,
            /^✘ .*a\.file:13:5: expects allowed, but bob does not reach 10\.20\.0\.1: lab has .* — add bob/m
          )
          assert.strictEqual(error?.message, "1 of 2 tests do not hold — see above")
        })
    )
  )

  it.effect("shows where a client has a name or a network by several resources, and what it may use there", () =>
    withFile(
      example.replace(
        "resources:\n",
        `resources:
  admin: { name: gitlab.corp.internal, ports: [tcp/8443], allow: [alice-laptop], expires: 2027-01-01 }
  all:   { name: "**.corp.internal", ports: [tcp/443], allow: [eng, bob] }
  rack:  { cidr: 10.20.3.0/24, ports: [udp/161], allow: [eng] }
`
      ),
      (file) =>
        Effect.gen(function* () {
          const { text } = yield* run(["check", "-c", file])
          const shared = text.slice(text.indexOf("IN SEVERAL RESOURCES")).split("\n").slice(1)
          assert.deepStrictEqual(
            shared.filter((line) => line !== "").map((line) => line.split(/ {2,}/)),
            [
              [
                "gitlab.corp.internal",
                "alice-laptop",
                "tcp/8443 (admin, until 2027-01-01T00:00:00.000Z), tcp/22 udp/8000-8100 tcp icmp (gitlab), tcp/443 (all)"
              ],
              ["10.20.3.0/24", "alice-laptop", "udp/161 (rack), all (lab)"],
              [
                "*.svc.corp.internal",
                "alice-laptop bob",
                "all (services, until 2027-01-01T00:00:00.000Z), tcp/443 (all)"
              ]
            ]
          )
        })
    )
  )
})

describe("sallyport check of names", () => {
  const names = `${example}zones: { dev.example.com: { resolver: corp, allow: [eng] }, ads.example.net: system }
search: [corp.internal, nobody.example]
records: { www.home: { cname: gitlab.corp.internal }, nas.home: { a: 10.20.0.5, ttl: 60 } }
`
  it.effect("shows zones, records and search domains, and what is odd, with its place", () =>
    withFile(names, (file) =>
      Effect.gen(function* () {
        const { text, error } = yield* run(["check", "-c", file])
        assert.isUndefined(error)
        assert.match(text, /^dev\.example\.com +corp +alice-laptop$/m)
        assert.match(text, /^ads\.example\.net +system +all$/m)
        assert.match(text, /^www\.home +an alias of gitlab\.corp\.internal +300 s$/m)
        assert.match(text, /^nas\.home +10\.20\.0\.5 +60 s$/m)
        assert.match(text, /^short names are looked for in corp\.internal, nobody\.example$/m)
        assert.include(text, `warning: ${file}:`)
        assert.match(text, /: no resource, zone or record is in nobody\.example: .* — remove it, or add a zone$/m)
      })
    )
  )

  it.effect("warns of what doctor warns of", () =>
    withFile(`${names}block: [/dev]\n`, (file) =>
      Effect.gen(function* () {
        const warned = (text: string, line: RegExp) => Array.from(text.matchAll(line), ([, warning]) => warning)
        const check = warned((yield* run(["check", "-c", file])).text, /^warning: (.*)$/gm)
        const doctor = warned((yield* run(["doctor", "-c", file])).text, /^WARN {2}file +(.*)$/gm)
        assert.include(check.join("\n"), `everybody on this host may read ${file}, which holds secrets`)
        assert.deepStrictEqual(doctor, check)
      })
    )
  )

  it.effect("reads block lists: how long they are, what makes no sense, what they do not block", () =>
    withFile("0.0.0.0 ads.example.org\nwhat is this\nexample.net\n", (list) =>
      withFile(`${names}block: [${list}, ${list}.none, /dev]\n`, (file) =>
        Effect.gen(function* () {
          const { text, error } = yield* run(["check", "-c", file])
          assert.isUndefined(error)
          assert.include(text, `block list ${list}: 2 names\n`)
          assert.include(text, `warning: ${list}:2: 1 of its lines make no sense, this is the first — `)
          assert.include(text, `warning: the zone ads.example.net is on the block list ${list} (example.net): `)
          assert.include(text, `warning: the block list ${list}.none does not exist: nothing is blocked by it — `)
          assert.include(text, "warning: the block list /dev is no file: nothing is blocked by it — ")
        })
      )
    )
  )
})

describe("sallyport log", () => {
  it.effect("tells what happened in a line each, of a kind or a client if asked, and as JSON", () =>
    Effect.gen(function* () {
      const asked = (...flags: ReadonlyArray<string>) => run(["log", "--socket", "/alive", ...flags])
      const accepted = "1970-01-01T00:00:00.000Z  accepted alice → lab"
      const refused =
        "1970-01-01T00:00:00.000Z  refused alice → 10.20.0.7 tcp/22 of lab: the resource's ports do not let it through (2 packets)"
      const asking = "1970-01-01T00:00:00.000Z  asked bob: evil?[31m.corp type 1: NameError"
      assert.strictEqual((yield* asked()).text, [accepted, refused, asking].join("\n"))
      const last = (text: string, lines: number) => text.split("\n").slice(-lines).join("\n")
      assert.strictEqual(last((yield* asked("--refused")).text, 1), refused)
      assert.strictEqual(last((yield* asked("--dns")).text, 2), `${refused}\n${asking}`)
      assert.strictEqual(last((yield* asked("--client", "alice")).text, 2), `${accepted}\n${refused}`)
      const json = (yield* asked("--refused", "--json")).text
      assert.deepStrictEqual(JSON.parse(last(json, 1)), { number: 2, at: 0, event: happened[1] })
    })
  )
})

describe("sallyport status", () => {
  it.effect("prints tables for people and the whole report as JSON", () =>
    Effect.gen(function* () {
      const people = yield* run(["status", "--socket", "/alive"])
      const json = yield* run(["status", "--json", "--socket", "/alive"])
      assert.include(people.text, "gitlab.corp.internal")
      assert.deepStrictEqual(JSON.parse(json.text.split("\n").at(-1)!), report)
    })
  )

  it.effect("asks the socket of the configuration, else the default one", () =>
    withFile(`${example}control_socket: /alive\n`, (file) =>
      Effect.gen(function* () {
        const configured = yield* run(["status", "--config", file])
        const standard = yield* run(["status"])
        assert.isUndefined(configured.error)
        assert.match(
          String(standard.error?.message),
          /^no gateway is running \(nothing at \/run\/sallyport\/sallyport\.sock\)/
        )
      })
    )
  )
})

describe("sallyport client-config", () => {
  it.effect("prints the file with the key that is given, or asked from the gateway", () =>
    withFile(`${example}control_socket: /alive\n`, (file) =>
      Effect.gen(function* () {
        const given = yield* run(["client-config", "bob", "-c", file, "--gateway-key", key(8)])
        const asked = yield* run(["client-config", "bob", "-c", file])
        assert.include(given.text, `PublicKey = ${key(8)}`)
        assert.include(asked.text, `PublicKey = ${report.gateway.publicKey}`)
      })
    )
  )

  it.effect("has a variant for systemd-resolved, one for who asks elsewhere, and one for a phone", () =>
    withFile(example, (file) =>
      Effect.gen(function* () {
        const bob = (...flags: ReadonlyArray<string>) => {
          const named = ["client-config", "bob", "-c", file, "--gateway-key", key(8), ...flags]
          return run(named, { input: `${privateKey}\n` })
        }
        const privateKey = key(2)
        assert.include((yield* bob("--dns", "split")).text, "domain %i '~svc.corp.internal'\n")
        assert.notMatch((yield* bob("--dns", "none")).text.split("[Interface]").at(-1)!, /^DNS|^PostUp/m)
        const both = yield* bob("--dns", "split", "--qr")
        assert.strictEqual(both.error?._tag, "UsageError")
        const others = yield* bob("--qr")
        assert.match(
          others.error?.message ?? "",
          /^the private key on standard input is not that of bob: it belongs to \S{44} — /
        )
      })
    )
  )

  it.effect("shows a phone the client's own key, which comes on standard input", () =>
    Effect.gen(function* () {
      const publicKey = publicKeyOf(key(4))
      yield* withFile(example.replace(key(1), publicKey), (file) =>
        Effect.gen(function* () {
          const words = ["client-config", "alice-laptop", "--qr", "-c", file, "--gateway-key", key(8)]
          const { error, text } = yield* run(words, { input: `${key(4)}\n` })
          const conf = yield* Effect.fromResult(parseWireguardConf(readQr(text) ?? "", "phone"))
          assert.isUndefined(error)
          assert.deepStrictEqual([conf.privateKey, conf.peer.publicKey, conf.notes], [key(4), key(8), []])
        })
      )
    })
  )

  it.effect("says what to do when the client, the key or the gateway is unknown", () =>
    withFile(`${example}control_socket: /dead\n`, (file) =>
      Effect.gen(function* () {
        const client = yield* run(["client-config", "bobb", "-c", file])
        const badKey = yield* run(["client-config", "bob", "-c", file, "--gateway-key", "abc"])
        const gateway = yield* run(["client-config", "bob", "-c", file])
        assert.match(String(client.error?.message), /^no client is called "bobb" in .* — did you mean bob\?$/)
        assert.match(String(badKey.error?.message), /^--gateway-key: not a WireGuard key/)
        assert.match(String(gateway.error?.message), /public key is unknown: .*; or give it with --gateway-key$/)
      })
    )
  )
})

describe("sallyport connect and demo", () => {
  it.effect("connect with a wg-quick file", () => {
    const conf = `[Interface]\nPrivateKey=${key(1)}\nAddress=10.0.0.2\n[Peer]\nPublicKey=${key(2)}\nAllowedIPs=10.0.0.0/8\nEndpoint=a.example:1\n`
    return withFile(conf, (file) =>
      Effect.gen(function* () {
        const { calls } = yield* run(["connect", file])
        assert.deepStrictEqual(calls, [["connect", "a.example", { device: null, dns: false }]])
        const named = yield* run(["connect", file, "--device", "corp0", "--dns"])
        assert.deepStrictEqual(named.calls, [["connect", "a.example", { device: "corp0", dns: true }]])
        const long = yield* run(["connect", file, "--device", "a-name-that-is-too-long"])
        assert.match(
          String(long.error?.message),
          /--device: "a-name-that-is-too-long" is not a device name — use at most/
        )
        const portal = yield* run(["connect", "--portal", "--dns"])
        assert.match(String(portal.error?.message), /--device and --dns are for a file — leave them out with --portal/)
      })
    )
  })

  it.effect("refuse a wrong wg-quick file by line", () =>
    withFile("[Interface]\nPrivateKy = x\n", (file) =>
      Effect.gen(function* () {
        const { calls, error } = yield* run(["connect", file])
        assert.deepStrictEqual(calls, [])
        assert.match(
          String(error?.message),
          /a\.file:2:1: unknown key "PrivateKy" in \[Interface\] — did you mean PrivateKey\?/
        )
      })
    )
  )

  it.effect("connect to the portal that the environment names", () =>
    Effect.gen(function* () {
      const environment = { FIREZONE_TOKEN: "t", FIREZONE_API_URL: "http://portal.test:8081", FIREZONE_NAME: "laptop" }
      const { calls } = yield* run(["connect", "--portal"], { environment })
      assert.deepStrictEqual(calls, [["connectPortal", "ws://portal.test:8081/", "laptop"]])
      for (const [wrong, expected] of [
        [{}, /FIREZONE_TOKEN is not set — put/],
        [{ ...environment, FIREZONE_API_URL: "ftp://portal.test" }, /FIREZONE_API_URL: the scheme .* — write/],
        [{ ...environment, FIREZONE_ID: "a b" }, /FIREZONE_ID: it is no id — use/],
        [
          { ...environment, SALLYPORT_PORTAL_GENERATION: "D" },
          /SALLYPORT_PORTAL_GENERATION: there are A, B and C — write/
        ]
      ] as const) {
        const { calls, error } = yield* run(["connect", "--portal"], { environment: wrong })
        assert.deepStrictEqual(calls, [])
        assert.match(String(error?.message), expected)
      }
      const neither = yield* run(["connect"])
      assert.match(String(neither.error?.message), /either a file or --portal — name one/)
    })
  )

  it.effect("run the development portal with its checked file", () =>
    withFile(portalFile, (file) =>
      Effect.gen(function* () {
        const { calls } = yield* run(["dev-portal", "--config", file])
        assert.deepStrictEqual(calls, [["devPortal", portalConfig()]])
        const wrong = yield* run(["dev-portal", "--config", "/nowhere.yaml"])
        assert.match(String(wrong.error?.message), /\/nowhere.yaml does not exist/)
      })
    )
  )

  it.effect("pass the demo's choices on and refuse others", () =>
    Effect.gen(function* () {
      const plain = yield* run(["demo"])
      const broken = yield* run(["demo", "--json", "--break", "heal"])
      const other = yield* run(["demo", "--break", "all"])
      assert.deepStrictEqual(plain.calls, [["demo", { json: false, portal: false, break: null }]])
      assert.deepStrictEqual(broken.calls, [["demo", { json: true, portal: false, break: "heal" }]])
      assert.deepStrictEqual([other.calls.length, other.error?._tag], [0, "ShowHelp"])
    })
  )
})

describe("sallyport genkey", () => {
  it.effect("prints a clamped key, another one each time", () =>
    Effect.gen(function* () {
      const { text } = yield* run(["genkey"])
      const both = (yield* run(["genkey"])).text.split("\n")
      const bytes = Buffer.from(text, "base64")
      assert.strictEqual(bytes.length, 32)
      assert.strictEqual(bytes[0]! & 7, 0)
      assert.strictEqual(bytes[31]! & 192, 64)
      assert.strictEqual(new Set(both).size, 2)
    })
  )
})

describe("status", () => {
  it.effect("refuses two ways to be shown at once: a monitor that gets JSON would miss the exit code", () =>
    Effect.gen(function* () {
      for (const flags of ["--check --json", "--watch --check", "--json --watch"]) {
        const { error } = yield* run(["status", ...flags.split(" ")])
        assert.match(error?.message ?? "", /exclude each other — name one of them$/)
      }
    })
  )
})

describe("a wrong word on the command line", () => {
  const wrong: ReadonlyArray<readonly [line: string, says: string]> = [
    ["upp", 'sallyport: "upp" is no command — did you mean up?'],
    ["stat", 'sallyport: "stat" is no command — did you mean status?'],
    ["frobnicate", 'sallyport: "frobnicate" is no command — see sallyport --help'],
    ["up --confg x", 'sallyport: "--confg" is no flag of sallyport up — did you mean --config?'],
    ["status --socket", "sallyport: --socket has no value — see sallyport status --help"],
    ["genkey now", 'sallyport: "now" is more than sallyport genkey takes — see sallyport genkey --help'],
    ["client-config", "sallyport: name is missing — see sallyport client-config --help"],
    ["dev-portal", "sallyport: --config is missing — see sallyport dev-portal --help"],
    ["demo --break all", 'sallyport: --break: "all" does not fit — see sallyport demo --help']
  ]
  for (const [line, says] of wrong) {
    it.effect(`is told in one line: ${line}`, () =>
      Effect.gen(function* () {
        const { calls, error, text } = yield* run(line.split(" "))
        const told = yield* TestConsole.errorLines
        assert.deepStrictEqual([calls, error?._tag, text, told], [[], "ShowHelp", "", [says]])
      })
    )
  }
})
