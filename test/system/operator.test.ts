/** What an operator sees when the host lacks something: one line with cause and fix, and nothing left behind. */
import { assert, layer } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { chmodSync, chownSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import * as LabLayer from "../../layers/lab/Lab.ts"
import { startNameServer, startOrigins, startVisitor } from "../../src/lab/demo/company.ts"
import { Lab, LabError } from "../../src/lab/demo/Lab.ts"
import { clientConf, gatewayPort, tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { dig, gatewayConfig, inner } from "../support/lab.ts"
import { appName, connectWireguardGo, startWorld, type World } from "../support/labWorld.ts"
import {
  assertNoTrace,
  attemptUp,
  nothing,
  onlyLine,
  operate,
  type Operated,
  traces,
  upCommand
} from "../support/operator.ts"

/** Any key will do where no client comes. */
const someKey = "BKvcnKpFBAl+nNGYZdLBWaVxfFpxZhBd9s1VmmHRBhY="
const plain = gatewayConfig({ clientKey: someKey })

/** Keeps a program listening in the gateway's namespace; yields when it does. */
const occupy = Effect.fnUntraced(function* (code: string) {
  const lab = yield* Lab
  const child = yield* lab.spawn("gateway", [process.execPath, "-e", code])
  yield* lab.exec("gateway", ["ss", "-Hlntu"]).pipe(
    Effect.filterOrFail(
      (sockets) => /:(53|51820)\s/.test(sockets),
      () => new LabError({ message: "nothing listens yet" })
    ),
    Effect.retry({ schedule: Schedule.spaced("50 millis"), times: 100 })
  )
  return child
})

/** Company, visitor and a stock client around a gateway that the test has started by itself. */
const surround = Effect.fnUntraced(function* (operated: Operated, clientKeys: World["clientKeys"]) {
  const nameServer = yield* startNameServer
  yield* nameServer.set({ mode: "answer", name: appName, a: [inner.origin.v4], aaaa: [inner.origin.v6], ttl: 5 })
  const origins = yield* startOrigins
  const visitor = yield* startVisitor()
  const report = yield* operated.ready
  const lab = yield* Lab
  const proxyOf = (name: string = appName) =>
    dig("client", tunnelAddresses.gateway.v4, name, "A").pipe(
      Effect.map(([proxy = "none"]) => proxy),
      Effect.provideService(Lab, lab)
    )
  const gateway = {
    process: operated.process,
    publicKey: report.gateway.publicKey,
    configPath: operated.configPath,
    status: operated.ready,
    anyStatus: operated.ready
  }
  const world: World = { nameServer, origins, visitor, gateway, clientKeys, proxyOf }
  yield* connectWireguardGo(world)
  return world
})

layer(LabLayer.layer, { excludeTestServices: true, timeout: "30 seconds" })("an operator", (it) => {
  it.effect("reads every mistake of a broken configuration with its place, from up and from check", () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const broken = `${plain}\nlisten: 99999\ndevise: sallyport7\n`
      const up = yield* attemptUp({ name: "broken", config: broken })
      const path = `${lab.directory}/broken.yaml`
      const check = yield* lab.attempt("gateway", [...lab.program("sallyport"), "check", "--config", path])
      const missing = yield* lab.attempt("gateway", [...lab.program("sallyport"), "up", "--config", `${path}.none`])
      yield* lab.writeFile("good.yaml", plain)
      const good = yield* lab.attempt("gateway", [
        ...lab.program("sallyport"),
        "check",
        "--config",
        `${lab.directory}/good.yaml`
      ])

      for (const { code, stderr } of [up, check]) {
        assert.strictEqual(code, 1)
        assertNoTrace(stderr)
        const lines = stderr.trim().split("\n")
        assert.isTrue(
          lines.every((line) => line.startsWith(`${path}:`)),
          stderr
        )
        assert.match(stderr, /broken\.yaml:\d+:\d+: .*99999 is not a port.* 65535/)
        assert.match(stderr, /broken\.yaml:\d+:\d+: .*devise.*device/)
      }
      assert.match(onlyLine(missing), /broken\.yaml\.none does not exist/)
      assert.strictEqual(good.code, 0, good.stderr)
      assert.match(good.stdout, /good\.yaml is correct: 1 client, 1 resource$/m)
      assert.match(good.stdout, /visitor +100\.64\.0\.2 +\S+ +intranet/)
      assert.deepStrictEqual(yield* traces, nothing)
    })
  )

  it.effect("gets one line without the right to make a device, without /dev/net/tun, and with its ports taken", () =>
    Effect.gen(function* () {
      const unprivileged = yield* attemptUp({
        name: "unprivileged",
        config: plain,
        wrap: ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
      })
      assert.match(onlyLine(unprivileged), /cannot create the TUN device sallyport0 .*CAP_NET_ADMIN/)

      const noTun = yield* attemptUp({
        name: "no-tun",
        config: plain,
        wrap: ["unshare", "--mount", "sh", "-ec", 'mount -t tmpfs none /dev/net; exec "$@"', "sh"]
      })
      assert.match(onlyLine(noTun), /\/dev\/net\/tun is missing: run "modprobe tun"/)

      const udp = yield* Effect.scoped(
        Effect.andThen(
          occupy(`require("dgram").createSocket("udp4").bind(${gatewayPort})`),
          attemptUp({ name: "taken", config: plain })
        )
      )
      assert.match(onlyLine(udp), /UDP port 51820 is taken .*ss -lunp sport = :51820/)

      const dns = yield* Effect.scoped(
        Effect.andThen(
          occupy(`require("net").createServer().listen(53, "0.0.0.0")`),
          attemptUp({ name: "dns", config: plain })
        )
      )
      assert.match(onlyLine(dns), /TCP 100\.64\.0\.1:53 is taken: .*bind it to its own addresses/)
      assert.deepStrictEqual(yield* traces, nothing)
    })
  )

  it.effect(
    "keeps a gateway with a full disk: new names in memory only and loudly, the old ones as they were",
    () =>
      Effect.gen(function* () {
        const lab = yield* Lab
        const clientKeys = yield* lab.keyPair
        const config = gatewayConfig({
          clientKey: clientKeys.publicKey,
          resources: `  intranet: { name: "*.corp.internal", resolver: corp, allow: [visitor] }`
        })
        const { stateDir } = yield* upCommand({ name: "full", config })
        // A file system of its own for the state, which outlives the gateway.
        const disk = yield* lab.spawn("gateway", [
          "unshare",
          "--mount",
          "sh",
          "-ec",
          'mkdir -p "$1"; mount -t tmpfs -o size=512k none "$1"; echo mounted; exec sleep 600',
          "sh",
          stateDir
        ])
        const inside = ["nsenter", "--target", `${disk.pid}`, "--mount", "--"]
        yield* lab
          .exec("gateway", [...inside, "mountpoint", stateDir])
          .pipe(Effect.retry({ schedule: Schedule.spaced("50 millis"), times: 100 }))
        const fill = 'dd if=/dev/zero of="$1/filler" bs=4k 2>/dev/null || true'

        const { kept, unkept } = yield* Effect.scoped(
          Effect.gen(function* () {
            const gateway = yield* operate({ name: "full", config, wrap: inside })
            const world = yield* surround(gateway, clientKeys)
            const first = yield* world.proxyOf()
            const names = Array.from({ length: 100 }, (_, i) => `n${i}.corp.internal`)
            for (const name of names) yield* world.nameServer.set({ name, a: [inner.origin.v4] })
            yield* lab.exec("gateway", [...inside, "sh", "-c", fill, "sh", stateDir])
            // What the write-ahead log has room for still goes in; then names live in memory.
            const proxies = yield* Effect.forEach(names, (name) => world.proxyOf(name))
            const again = yield* world.proxyOf("n99.corp.internal")
            const page = yield* world.visitor.retry({ address: first, every: 100, deadline: 5000 })
            const log = yield* gateway.log
            assert.notInclude(proxies, "none")
            assert.strictEqual(new Set([first, ...proxies]).size, 101)
            assert.strictEqual(again, proxies[99])
            assert.strictEqual(yield* world.proxyOf(), first)
            assert.strictEqual(page.page?.servedBy, inner.origin.v4)
            assert.match(log, /level=ERROR.*memory only.*the disk is full; free some space/)
            assertNoTrace(log)
            assert.strictEqual(yield* gateway.process.stop, 0)
            return { kept: first, unkept: proxies[99] ?? "none" }
          })
        )

        yield* lab.exec("gateway", [...inside, "rm", `${stateDir}/filler`])
        yield* Effect.scoped(
          Effect.gen(function* () {
            const world = yield* surround(yield* operate({ name: "full", config, wrap: inside }), clientKeys)
            assert.strictEqual(yield* world.proxyOf(), kept)
            const names = Array.from({ length: 4 }, (_, i) => `other${i}.corp.internal`)
            for (const name of names) yield* world.nameServer.set({ name, a: [inner.origin.v4] })
            const others = yield* Effect.forEach(names, (name) => world.proxyOf(name))
            assert.notInclude(others, "none")
            assert.notInclude(others, unkept)
          })
        )
      }),
    { timeout: 60_000 }
  )

  it.effect(
    "is told of a state that cannot be read, and nothing in it is touched; a lost key is not replaced silently",
    () =>
      Effect.gen(function* () {
        const lab = yield* Lab
        const { stateDir } = yield* upCommand({ name: "state", config: plain })
        const file = `${stateDir}/state.db`
        const first = yield* Effect.scoped(
          Effect.flatMap(operate({ name: "state", config: plain }), ({ ready }) => ready)
        )
        const intact = readFileSync(file)

        const garbage = Buffer.concat([Buffer.from("this is not a database"), intact.subarray(22)])
        writeFileSync(file, garbage)
        const damaged = yield* attemptUp({ name: "state", config: plain })
        assert.match(onlyLine(damaged), /state\.db is damaged or not a state file: restore it from a backup/)
        assert.deepStrictEqual(readFileSync(file), garbage)
        writeFileSync(file, intact)

        const readOnly = yield* attemptUp({
          name: "state",
          config: plain,
          wrap: [
            "unshare",
            "--mount",
            "sh",
            "-ec",
            `mount --bind ${stateDir} ${stateDir}; mount -o remount,ro,bind ${stateDir}; exec "$@"`,
            "sh"
          ]
        })
        assert.match(onlyLine(readOnly), /cannot open the state in .*read-only/)
        assert.deepStrictEqual(readFileSync(file), intact)

        const database = new DatabaseSync(file)
        database.exec(
          "DELETE FROM meta; INSERT INTO client (id, address, port, last_seen) VALUES ('visitor', '192.0.2.2', 1234, 1)"
        )
        database.close()
        const keyless = yield* attemptUp({ name: "state", config: plain })
        assert.match(onlyLine(keyless), /has no key in it, so .*private key is gone.*: restore .* --new-key/)
        const sallyport = lab.program("sallyport")
        const copy = `${lab.directory}/state.copy`
        const again = operate({ name: "state", config: plain, flags: ["--new-key"] })
        const renewed = yield* Effect.scoped(
          Effect.gen(function* () {
            const { configPath, log, ready } = yield* again
            const { publicKey } = (yield* ready).gateway
            assert.match(
              yield* log,
              /level=WARN .*this gateway has a new key, made in .*: every client needs PublicKey = /
            )
            const made = yield* lab.exec("gateway", [...sallyport, "backup", copy, "-c", configPath])
            assert.include(made, `state.copy: public key ${publicKey}, 1 client, 0 names`)
            const refused = yield* lab.attempt("gateway", [...sallyport, "restore", copy, "-c", configPath])
            assert.match(onlyLine(refused), /nothing is restored while a gateway runs: .*: stop it/)
            return { configPath, publicKey }
          })
        )
        assert.notStrictEqual(renewed.publicKey, first.gateway.publicKey)
        rmSync(stateDir, { recursive: true })
        yield* lab.exec("gateway", [...sallyport, "restore", copy, "-c", renewed.configPath])
        const restored = yield* Effect.scoped(
          Effect.gen(function* () {
            const { log, ready } = yield* again
            const { publicKey } = (yield* ready).gateway
            assert.match(yield* log, /level=WARN .*--new-key did nothing: .*state\.db has its key .*, which stays/)
            return publicKey
          })
        )
        assert.strictEqual(restored, renewed.publicKey)
        assert.deepStrictEqual(yield* traces, nothing)
        yield* lab.exec("gateway", ["true"])
      })
  )

  it.effect("sees clients, names and counters in status, as text and as JSON, and one line when no gateway runs", () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const world = yield* startWorld()
      yield* connectWireguardGo(world)
      const proxy = yield* world.proxyOf()
      yield* world.visitor.retry({ address: proxy, every: 100, deadline: 5000 })
      const status = [...lab.program("sallyport"), "status"]

      const text = yield* lab.exec("gateway", [...status, "--config", world.gateway.configPath])
      const about = yield* lab.exec("gateway", [...status, "visitor", "--config", world.gateway.configPath])
      const counters = yield* lab.exec("gateway", [...status, "--counters", "--config", world.gateway.configPath])
      const json = yield* world.gateway.status
      const none = yield* lab.attempt("gateway", [...status, "--socket", `${lab.directory}/none.sock`])

      assert.include(text, `key ${world.gateway.publicKey}`)
      assert.match(text, /^nothing is wrong$/m)
      assert.match(text, /^1 client, 1 connected$/m)
      assert.match(text, /visitor +100\.64\.0\.2 +192\.0\.2\.2:\d+ +\d+ s ago /)
      assert.match(text, /app\.corp\.internal +Resolved +10\.20\.0\.10.* visitor$/m)
      assert.match(about, new RegExp(`app\\.corp\\.internal +${proxy.replaceAll(".", "\\.")} +Resolved`))
      assert.match(counters, /outbound\.forwarded +\d+/)
      assert.strictEqual(json.clients[0]?.connected, true)
      assert.deepInclude(json.mappings[0], { domain: appName, state: "Resolved", reason: null })
      assert.isAbove(json.counters.dataPlane["outbound.forwarded"] ?? 0, 0)
      assert.match(onlyLine(none), /no gateway is running \(nothing at .*none\.sock\)/)
    })
  )

  it.effect(
    "may stop a gateway at any moment of its start-up: it ends at once and leaves nothing",
    () =>
      Effect.gen(function* () {
        const lab = yield* Lab
        const { command } = yield* upCommand({ name: "early", config: plain })
        const startMs = yield* Effect.scoped(
          Effect.gen(function* () {
            const started = performance.now()
            yield* (yield* operate({ name: "early", config: plain })).ready
            return performance.now() - started
          })
        )
        const codes: Array<number> = []
        for (const part of [0.2, 0.5, 0.65, 0.75, 0.85, 0.95, 1]) {
          const child = yield* lab.spawn("gateway", command)
          yield* Effect.sleep(startMs * part)
          process.kill(child.pid, "SIGTERM")
          const code = yield* child.exit.pipe(
            Effect.timeoutOrElse({ duration: "3 seconds", orElse: () => Effect.succeed(-1) })
          )
          const output = yield* child.output
          codes.push(code)
          // Before Node runs our code nothing is there to undo, and the signal ends it.
          assert.include(output === "" ? [0, 143] : [0], code, `after ${part} of ${startMs} ms:\n${output}`)
          assertNoTrace(output)
          assert.deepStrictEqual(yield* traces, nothing, `after ${part} of ${startMs} ms`)
        }
        assert.include(codes, 0)
      }),
    { timeout: 60_000 }
  )

  it.effect("finds no private and no preshared key in the most talkative logs of both ends", () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const clientKeys = yield* lab.keyPair
      const { privateKey: presharedKey } = yield* lab.keyPair
      const gateway = yield* operate({
        name: "talkative",
        config: gatewayConfig({ clientKey: clientKeys.publicKey, presharedKey }),
        flags: ["--log-level", "trace"]
      })
      const { gateway: own } = yield* gateway.ready
      const conf = clientConf({ privateKey: clientKeys.privateKey, gatewayPublicKey: own.publicKey })
      const path = yield* lab.writeFile("talkative.conf", `${conf.trimEnd()}\nPresharedKey = ${presharedKey}\n`)
      const client = yield* lab.spawn("client", [...lab.program("sallyport"), "connect", path, "--log-level", "trace"])
      yield* startNameServer
      const proxy = yield* dig("client", tunnelAddresses.gateway.v4, appName, "A").pipe(
        Effect.repeat({ until: (found) => found.length > 0, schedule: Schedule.spaced("100 millis"), times: 100 })
      )
      const database = new DatabaseSync(`${gateway.stateDir}/state.db`, { readOnly: true })
      const row = database.prepare("SELECT value FROM meta WHERE name = 'private_key'").get()
      database.close()
      const gatewayKey = String(row?.["value"])
      yield* client.stop
      yield* gateway.process.stop

      const logs = `${yield* gateway.log}\n${yield* client.output}`
      assert.isAbove(proxy.length, 0)
      assert.include(logs, "client connected")
      assert.match(logs, /level=DEBUG|level=TRACE|message=connecting/)
      for (const secret of [gatewayKey, presharedKey, clientKeys.privateKey]) {
        const bytes = Buffer.from(secret, "base64")
        assert.strictEqual(bytes.length, 32)
        const forms = [
          secret,
          secret.slice(0, 20),
          bytes.toString("hex"),
          bytes.toString("base64url"),
          bytes.join(","),
          bytes.join(", ")
        ]
        for (const form of forms) assert.notInclude(logs, form)
      }
    })
  )

  it.effect("may delete the TUN devices of both ends: they are made again, and that is told", () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const keys = yield* lab.keyPair
      const gateway = yield* operate({ name: "deleted", config: gatewayConfig({ clientKey: keys.publicKey }) })
      const { gateway: own } = yield* gateway.ready
      const conf = yield* lab.writeFile(
        "deleted.conf",
        clientConf({ privateKey: keys.privateKey, gatewayPublicKey: own.publicKey })
      )
      const client = yield* lab.spawn("client", [...lab.program("sallyport"), "connect", conf])
      yield* lab.exec("client", ["ip", "-o", "route", "show", "dev", "sallyport-c0"]).pipe(
        Effect.filterOrFail(
          (routes) => routes.includes("100.64.0.0/10"),
          () => new LabError({ message: "not connected" })
        ),
        Effect.retry({ schedule: Schedule.spaced("100 millis"), times: 100 })
      )

      const reaches = (address: string) =>
        lab.attempt("client", ["ping", "-c", "1", "-W", "1", address]).pipe(
          Effect.repeat({ until: ({ code }) => code === 0, schedule: Schedule.spaced("100 millis"), times: 200 }),
          Effect.map(({ code }) => code === 0)
        )
      assert.isTrue(yield* reaches(tunnelAddresses.gateway.v4))
      yield* lab.exec("gateway", ["ip", "link", "del", "sallyport0"])
      yield* lab.exec("client", ["ip", "link", "del", "sallyport-c0"])

      assert.isTrue(yield* reaches(tunnelAddresses.gateway.v4))
      assert.match(yield* client.output, /put back on sallyport-c0: the device/)
      assert.notInclude(yield* client.output, "IPv6 is off")
      assert.match(yield* gateway.log, /the host was changed, and is put right: .*sallyport0/)
      yield* client.stop
      yield* gateway.process.stop
      assert.deepStrictEqual(yield* traces, nothing)
    })
  )

  it.effect("hangs up on a gateway: it reads its file again, and goes on until a signal that it names", () =>
    Effect.gen(function* () {
      const gateway = yield* operate({ name: "hangup", config: plain })
      yield* gateway.ready
      process.kill(gateway.process.pid, "SIGHUP")
      yield* gateway.log.pipe(
        Effect.repeat({
          until: (log) => log.includes("message=reloaded"),
          schedule: Schedule.spaced("50 millis"),
          times: 60
        })
      )
      yield* gateway.ready
      const code = yield* gateway.process.stop
      const log = yield* gateway.log
      assert.strictEqual(code, 0)
      assert.match(log, /message=reloaded version=1 clients="\+0 ~0 -0"/)
      assert.strictEqual(log.split('message="stopping: SIGTERM"').length, 2, log)
    })
  )

  it.effect(
    "finds every thread of a gateway, those of a later worker too, without what it does not need of root's power",
    () =>
      Effect.gen(function* () {
        const lab = yield* Lab
        const hook = 'process.once("worker", (worker) => setTimeout(() => worker.terminate(), 500).unref())'
        const kill = yield* lab.writeFile("kill.mjs", hook)
        const gateway = yield* operate({ name: "shed", config: plain, wrap: ["env", `NODE_OPTIONS=--import=${kill}`] })
        yield* gateway.ready.pipe(
          Effect.repeat({
            until: (report) => report.gateway.workerEpoch > 1,
            schedule: Schedule.spaced("100 millis"),
            times: 100
          })
        )
        const threads = `/proc/${gateway.process.pid}/task`
        const held = new Set(
          readdirSync(threads).map((thread) => {
            const status = readFileSync(`${threads}/${thread}/status`, "utf8")
            return /^CapPrm:\t(\w+)\nCapEff:\t(\w+)\nCapBnd:\t(\w+)\n(?:.*\n)*?NoNewPrivs:\t(\d)$/m
              .exec(status)!
              .slice(1)
              .join()
          })
        )
        // CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, CAP_SYS_NICE.
        const least = [...Array.from({ length: 3 }, () => "0000000000801400"), "1"].join()
        assert.deepStrictEqual([...held], [least])
      })
  )

  it.effect("lets a gateway read the certificate authorities that node is told of, whoever owns them", () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const file = yield* lab.writeFile("authorities.pem", "")
      chmodSync(file, 0o600)
      chownSync(file, 65_534, 65_534)
      const tell = yield* lab.writeFile(
        "tell.mjs",
        'import fs from "node:fs"; console.error("held", /CapEff:\\t(\\w+)/.exec(fs.readFileSync("/proc/self/status", "utf8"))[1])'
      )
      const variables = [`NODE_EXTRA_CA_CERTS=${file}`, `NODE_OPTIONS=--import=${tell}`]
      const up = [...lab.program("sallyport"), "up", "--config", `${lab.directory}/absent.yaml`]
      const { stderr } = yield* lab.attempt("gateway", ["env", ...variables, ...up])
      // Of the process that was given power up last: CAP_DAC_READ_SEARCH besides.
      assert.strictEqual([...stderr.matchAll(/^held (\w+)$/gm)].at(-1)?.[1], "0000000000801404", stderr)
    })
  )
})
