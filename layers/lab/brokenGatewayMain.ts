/**
 * `sallyport up` with a gateway that breaks one promise: `brokenGatewayMain accept|icmp|heal up …`. What
 * `sallyport demo --break` starts in place of `sallyport`.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Programs } from "../../src/cli/Programs.ts"
import * as ProgramsLive from "../cli/Programs.ts"
import { runGateway } from "../Gateway.ts"
import { runCli } from "../runCli.ts"
import { faults } from "./faults.ts"

const [name, ...argv] = process.argv.slice(2)
const fault = Object.entries(faults).find(([known]) => known === name)?.[1]
if (fault === undefined) throw new Error(`not a fault: ${name ?? "none"}; there are ${Object.keys(faults).join(", ")}`)

const broken = Layer.effect(
  Programs,
  Effect.map(Programs, (live) => ({
    ...live,
    up: (config, options) => runGateway(config, { ...options, swap: fault })
  }))
)
runCli(argv, Layer.provide(broken, ProgramsLive.layer))
