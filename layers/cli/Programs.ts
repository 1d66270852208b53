/** The programs behind the commands, each loaded when it is asked for. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { load } from "../../src/cli/load.ts"
import { withLogFormat } from "./logFormat.ts"
import { tellingWhy } from "./stopping.ts"
import { Programs } from "../../src/cli/Programs.ts"
import { ServiceManager } from "../../src/host/ServiceManager.ts"

const portalGatewayStays = { stays: "the portal says what changes; there is no file to read again" }

/** SIGHUP, as often as it comes; more of them while one is worked off are one. */
const hangUps = Stream.callback<NodeJS.Signals>(
  (queue) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const hear = (signal: NodeJS.Signals): void => void Queue.offerUnsafe(queue, signal)
        process.on("SIGHUP", hear)
        return hear
      }),
      (hear) => Effect.sync(() => process.off("SIGHUP", hear))
    ),
  { bufferSize: 1, strategy: "sliding" }
)

/** Who has started us as a service is told how it is with us. */
const asService = <A, E, R>(program: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    if (process.env["NOTIFY_SOCKET"] === undefined) return yield* program
    const { serviceManager } = yield* load(() => import("../host/ServiceManager.ts"))
    return yield* Effect.provideServiceEffect(program, ServiceManager, serviceManager(process.env))
  })

export const layer: Layer.Layer<Programs> = Layer.succeed(Programs, {
  up: Effect.fnUntraced(function* (config, options) {
    const telemetry = yield* load(() => import("./telemetry.ts"))
    const { runGateway } = yield* load(() => import("../Gateway.ts"))
    const { withBootClock } = yield* load(() => import("../host/bootClock.ts"))
    return yield* runGateway(config, { ...options, reloads: hangUps }).pipe(
      Effect.provide(telemetry.layer(options)),
      tellingWhy("heard"),
      asService,
      withBootClock,
      withLogFormat(config.logFormat)
    )
  }),
  upFirezone: Effect.fnUntraced(function* (config, options) {
    const telemetry = yield* load(() => import("./telemetry.ts"))
    const { runFirezoneGateway } = yield* load(() => import("../FirezoneGateway.ts"))
    const { withBootClock } = yield* load(() => import("../host/bootClock.ts"))
    return yield* runFirezoneGateway(config).pipe(
      Effect.provide(telemetry.layer(options)),
      tellingWhy(portalGatewayStays),
      asService,
      withBootClock,
      withLogFormat(config.logFormat)
    )
  }),
  connect: Effect.fnUntraced(function* (conf, options) {
    const { runConnect } = yield* load(() => import("./Connect.ts"))
    return yield* tellingWhy("ends")(runConnect(conf, options))
  }),
  connectPortal: Effect.fnUntraced(function* (config) {
    const { runConnectPortal } = yield* load(() => import("../lab/ConnectPortal.ts"))
    return yield* tellingWhy("ends")(runConnectPortal(config))
  }),
  demo: Effect.fnUntraced(function* (options) {
    const { runDemo } = yield* load(() => import("../lab/demo.ts"))
    return yield* runDemo(options)
  }),
  devPortal: Effect.fnUntraced(function* (config) {
    const { runDevPortal } = yield* load(() => import("../lab/DevPortal.ts"))
    return yield* tellingWhy("ends")(runDevPortal(config))
  })
})
