import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Stream } from "effect"
import { Command } from "effect/cli"
import { TestConsole } from "effect/testing"
import { ControlClient, type ControlRequest } from "../../src/cli/ControlClient.ts"
import { plainVipNotice, vipRequest } from "../../src/cli/plainVipNotice.ts"
import { vipNotify } from "../../src/cli/vipNotify.ts"

/** What the gateways are asked by the framework, and what is printed. */
const withFramework = Effect.fnUntraced(function* (argv: ReadonlyArray<string>) {
  const asked: Array<readonly [string, ControlRequest]> = []
  const cli = Command.make("sallyport").pipe(Command.withSubcommands([vipNotify]))
  yield* Command.runWith(cli, { version: "9.9.9" })(argv).pipe(
    Effect.provide([NodeServices.layer, ConfigProvider.layer(ConfigProvider.fromUnknown({}))]),
    Effect.provideService(ControlClient, {
      isListening: () => Effect.succeed(true),
      request: (socket, request) => Effect.sync(() => (asked.push([socket, request]), `"said"`)),
      lines: () => Stream.empty
    })
  )
  assert.deepStrictEqual((yield* TestConsole.logLines).at(-1), "said")
  return asked
})

describe("plainVipNotice", () => {
  it.effect("reads what it takes as the framework does", () =>
    Effect.gen(function* () {
      for (const words of [
        ["MASTER"],
        ["INSTANCE", "VI_1", "BACKUP", "90"],
        ["--socket", "/run/other", "GROUP", "clients", "FAULT", "90"]
      ]) {
        const argv = ["vip-notify", ...words]
        const notice = plainVipNotice(argv, {})
        assert.isNotNull(notice, argv.join(" "))
        assert.deepStrictEqual(yield* withFramework(argv), [[notice.socket, vipRequest(notice.state)]], argv.join(" "))
      }
    })
  )

  it("leaves to the framework what needs a configuration, help or an explanation", () => {
    for (const words of [
      [],
      ["--help"],
      ["MASTR"],
      ["MASTER", "--socket", "/s"],
      ["--socket", "relative", "MASTER"],
      ["--socket", "MASTER"],
      ["--config", "/etc/sallyport.yaml", "MASTER"]
    ]) {
      assert.isNull(plainVipNotice(["vip-notify", ...words], {}), words.join(" "))
    }
    assert.isNull(plainVipNotice(["vip-notify", "MASTER"], { SALLYPORT_CONFIG: "/etc/sallyport.yaml" }))
    assert.isNull(plainVipNotice(["status", "MASTER"], {}))
  })
})
