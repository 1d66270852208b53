/** The programs behind the commands, put together from the live layers. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Programs } from "../../src/cli/Programs.ts"
import { runConnect } from "./Connect.ts"
import { runConnectPortal } from "../lab/ConnectPortal.ts"
import { runDevPortal } from "../lab/DevPortal.ts"
import { runFirezoneGateway } from "../FirezoneGateway.ts"
import { runGateway } from "../Gateway.ts"
import { runDemo } from "../lab/demo.ts"
import * as telemetry from "./telemetry.ts"

export const layer: Layer.Layer<Programs> = Layer.succeed(Programs, {
  up: (config, options) => runGateway(config, options).pipe(Effect.provide(telemetry.layer(options))),
  upFirezone: (config, options) => runFirezoneGateway(config).pipe(Effect.provide(telemetry.layer(options))),
  connect: (conf) => runConnect(conf),
  connectPortal: runConnectPortal,
  demo: runDemo,
  devPortal: runDevPortal
})
