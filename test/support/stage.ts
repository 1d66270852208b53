/** One world for all tests of a file: gateway, company, and a stock WireGuard client, with captures at both ends. */
import { Context, Effect, Layer } from "effect"
import * as LabLayer from "../../layers/lab/Lab.ts"
import { type Capture, Lab, type LabError } from "../../src/lab/demo/Lab.ts"
import { connectWireguardGo, startWorld, type World, type WorldOptions } from "./labWorld.ts"
import type { WireguardGo, WireguardGoError } from "./wireguardGo.ts"

export interface StageOptions extends WorldOptions {
  /** What the client sends into the tunnel besides the tunnel's own networks. */
  readonly allowedIps?: ReadonlyArray<string>
  /** Persistent keepalive of the client, in seconds. */
  readonly keepalive?: number
}

export class Stage extends Context.Service<
  Stage,
  {
    readonly world: World
    readonly wireguard: WireguardGo
    /** The client's TUN device: IP packets as the client's programs send and get them. */
    readonly tunnel: Capture
    /** The company's wire. */
    readonly lan: Capture
  }
>()("sallyport/test/Stage") {}

/** For `layer(stage(…), { excludeTestServices: true, timeout: "60 seconds" })`. */
export const stage = (options: StageOptions = {}): Layer.Layer<Stage | Lab, LabError | WireguardGoError> =>
  Layer.effect(
    Stage,
    Effect.gen(function* () {
      const lab = yield* Lab
      const world = yield* startWorld(options)
      const wireguard = yield* connectWireguardGo(world, options)
      const tunnel = yield* lab.capture("client", { devices: [wireguard.device] })
      const lan = yield* lab.capture("lan", { devices: ["inner"] })
      return { world, wireguard, tunnel, lan }
    })
  ).pipe(Layer.provideMerge(LabLayer.layer))
