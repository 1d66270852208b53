import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, FileSystem, Redacted, Schema } from "effect"
import { readFirezoneConfig, readToken } from "../../src/config/firezoneConfig.ts"
import { parseHumantime } from "../../src/config/humantime.ts"

const read = (environment: Record<string, string>) =>
  Effect.gen(function* () {
    const token = yield* readToken
    return token === null ? null : yield* readFirezoneConfig(token)
  }).pipe(Effect.provide([NodeServices.layer, ConfigProvider.layer(ConfigProvider.fromUnknown(environment))]))

const problem = (environment: Record<string, string>) =>
  Effect.map(Effect.flip(read({ FIREZONE_TOKEN: "t0ken", ...environment })), (error) => error.message)

describe("the environment of the portal mode", () => {
  it.effect("with a token alone has the defaults of the gateway that it replaces", () =>
    Effect.gen(function* () {
      const config = yield* read({ FIREZONE_TOKEN: " t0ken\n" })
      assert.deepInclude(config, {
        firezoneId: null,
        name: null,
        apiUrl: "wss://api.firezone.dev/",
        endpoint: "v1",
        version: "1.5.2",
        legacy: false,
        healthAddress: { host: "0.0.0.0", port: 8080 },
        listenHttp: { host: "127.0.0.1", port: 9820 },
        metricsPerClient: false,
        maxPartitionMs: 86_400_000,
        logFormat: "human",
        logLevel: "Info",
        device: "tun-firezone",
        listenPort: 52_625,
        stateDir: "/var/lib/firezone"
      })
      assert.strictEqual(Redacted.value(config!.token), "t0ken")
      assert.notInclude(JSON.stringify(config), "t0ken")
    })
  )

  it.effect("takes every variable; empty ones count as absent", () =>
    Effect.gen(function* () {
      const config = yield* read({
        FIREZONE_TOKEN: "t",
        FIREZONE_ID: "gw-1",
        FIREZONE_NAME: "Gateway 1",
        FIREZONE_API_URL: "http://[::1]:8081",
        HEALTH_CHECK_ADDR: "[::]:9000",
        SALLYPORT_LISTEN_HTTP: "off",
        SALLYPORT_METRICS_PER_CLIENT: "true",
        FIREZONE_MAX_PARTITION_TIME: "15min",
        FIREZONE_LOG_FORMAT: "json",
        RUST_LOG: "",
        SALLYPORT_PORTAL_ENDPOINT: "v2",
        SALLYPORT_PORTAL_VERSION: "1.4.19",
        SALLYPORT_PORTAL_TOKEN_IN_URL: "true",
        SALLYPORT_PORT: "0",
        SALLYPORT_FIREWALL: "off",
        SALLYPORT_MASQUERADE: "no",
        SALLYPORT_FWMARK: "0xCA6C",
        SALLYPORT_KEEP_PORTS: "yes",
        SALLYPORT_TRACK_UDP: "no"
      })
      assert.deepInclude(config, {
        firezoneId: "gw-1",
        name: "Gateway 1",
        apiUrl: "ws://[::1]:8081/",
        healthAddress: { host: "::", port: 9000 },
        listenHttp: null,
        metricsPerClient: true,
        maxPartitionMs: 900_000,
        logFormat: "json",
        logLevel: "Info",
        endpoint: "v2",
        version: "1.4.19",
        legacy: true,
        listenPort: 0,
        firewall: "off",
        masquerade: false,
        fwmark: 51_820,
        keepPorts: true,
        trackUdp: false
      })
    })
  )

  it.effect("without a token is none; a systemd credential is one", () =>
    Effect.gen(function* () {
      assert.isNull(yield* read({}))
      assert.isNull(yield* read({ FIREZONE_TOKEN: " " }))
      const fs = yield* FileSystem.FileSystem
      const directory = yield* fs.makeTempDirectoryScoped()
      assert.isNull(yield* read({ CREDENTIALS_DIRECTORY: directory }))
      yield* fs.writeFileString(`${directory}/FIREZONE_TOKEN`, "  secret\n")
      assert.strictEqual(Redacted.value((yield* read({ CREDENTIALS_DIRECTORY: directory }))!.token), "secret")
      const both = yield* read({ CREDENTIALS_DIRECTORY: directory, FIREZONE_TOKEN: "first" })
      assert.strictEqual(Redacted.value(both!.token), "first")
      yield* fs.writeFileString(`${directory}/FIREZONE_TOKEN`, "\n")
      assert.include((yield* Effect.flip(read({ CREDENTIALS_DIRECTORY: directory }))).message, "is empty")
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.effect("names the variable, the cause and the fix in one line, never the token", () =>
    Effect.gen(function* () {
      const wrong: ReadonlyArray<readonly [string, string]> = [
        ["FIREZONE_API_URL", "ftp://x"],
        ["FIREZONE_API_URL", "wss://me:t0ken@x"],
        ["FIREZONE_ID", "with blank"],
        ["FIREZONE_NAME", "x".repeat(256)],
        ["HEALTH_CHECK_ADDR", "8080"],
        ["HEALTH_CHECK_ADDR", "1.2.3.4:99999"],
        ["SALLYPORT_LISTEN_HTTP", "9820"],
        ["FIREZONE_MAX_PARTITION_TIME", "24"],
        ["FIREZONE_MAX_PARTITION_TIME", "0s"],
        ["FIREZONE_LOG_FORMAT", "xml"],
        ["SALLYPORT_PORT", "65536"],
        ["SALLYPORT_FWMARK", "0"],
        ["SALLYPORT_FWMARK", "4294967296"],
        ["SALLYPORT_FWMARK", "0x"],
        ["SALLYPORT_PORTAL_ENDPOINT", "v3"],
        ["SALLYPORT_PORTAL_VERSION", "1.5"],
        ["SALLYPORT_PORTAL_VERSION", "1.5.2 (x86_64)"],
        ["SALLYPORT_MASQUERADE", "perhaps"],
        ["FIREZONE_TOKEN", "t0kenü"]
      ]
      for (const [variable, value] of wrong) {
        const message = yield* problem({ [variable]: value })
        assert.match(message, new RegExp(`^${variable}: .+ — .+$`), message)
        assert.notInclude(message, "t0ken")
      }
    })
  )
})

describe("durations", () => {
  it("are sums of numbers with units", () => {
    const known: ReadonlyArray<readonly [string, number]> = [
      ["24h", 86_400_000],
      ["1day 2h 30m", 95_400_000],
      ["15min", 900_000],
      ["90 s", 90_000],
      ["1500ms", 1_500],
      ["2weeks", 1_209_600_000]
    ]
    for (const [text, millis] of known) assert.strictEqual(parseHumantime(text), millis, text)
  })

  it("are nothing without a unit, with an unknown one, or beyond counting", () => {
    for (const text of ["", "24", "h", "1x", "-1h", "1.5h", "1h,", "toString", "1toString", `${"9".repeat(90)}y`]) {
      assert.isUndefined(parseHumantime(text), text)
    }
  })

  it.prop("any text is safe", [Schema.String], ([text]) => {
    const parsed = parseHumantime(text)
    assert.isTrue(parsed === undefined || parsed >= 0)
  })
})
