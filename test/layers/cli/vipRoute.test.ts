import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as ControlClientLive from "../../../layers/cli/ControlClient.ts"
import * as ControlSocket from "../../../layers/cli/ControlSocket.ts"
import { vipRoute } from "../../../layers/cli/vipRoute.ts"
import * as VirtualAddressLive from "../../../layers/shared/VirtualAddress.ts"
import { askGateway, ControlError } from "../../../src/cli/ControlClient.ts"
import { vipRequest } from "../../../src/cli/plainVipNotice.ts"
import { VirtualAddress } from "../../../src/shared/VirtualAddress.ts"

const served = Effect.fnUntraced(function* (tell: Parameters<typeof vipRoute>[0]) {
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vip-"))),
    (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
  )
  const path = Path.join(directory, "s")
  yield* ControlSocket.serve(path, [yield* vipRoute(tell)])
  return (request: ReturnType<typeof vipRequest>) => askGateway(path, request, Schema.String)
})

describe("POST /v1/vip", () => {
  it.live("hands the state on, as often as it comes, and none that is unknown", () =>
    Effect.gen(function* () {
      const address = yield* VirtualAddress
      const ask = yield* served(address.tell)

      assert.match(yield* ask(vipRequest("MASTER")), /^MASTER: the gateway takes over/)
      const first = address.told()
      assert.strictEqual(first?.state, "MASTER")
      assert.match(yield* ask(vipRequest("MASTER")), /^MASTER: the gateway takes over/)
      assert.strictEqual(address.told(), first)
      for (const body of ["", "{", `"MASTER"`, `{"state":"master"}`]) {
        const { message } = yield* Effect.flip(ask({ ...vipRequest("BACKUP"), body }))
        assert.match(message, /of another version — use the sallyport that the gateway runs/, body)
      }
      assert.strictEqual(address.told(), first)
      assert.match(yield* ask(vipRequest("FAULT")), /^FAULT: the gateway calls no client/)
      assert.strictEqual(address.told()?.state, "FAULT")
    }).pipe(Effect.scoped, Effect.provide([ControlClientLive.layer, VirtualAddressLive.layer]))
  )

  it.live("is refused in the gateway's words where nobody is taken over", () =>
    Effect.gen(function* () {
      const ask = yield* served(() => new ControlError({ message: "it is alone" }))

      assert.strictEqual((yield* Effect.flip(ask(vipRequest("MASTER")))).message, "it is alone")
    }).pipe(Effect.scoped, Effect.provide(ControlClientLive.layer))
  )
})
