import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { clientConf } from "../config/clientConf.ts"
import { grantsOf } from "../config/GatewayConfig.ts"
import { clientOf } from "./clientOf.ts"
import { configFlag } from "./configFlag.ts"
import { gatewayKeyFlag, gatewayKeyOf } from "./gatewayKey.ts"
import { HostNames } from "./HostNames.ts"
import { load } from "./load.ts"
import { switchFlag } from "./switchFlag.ts"

/** `sallyport client-config NAME`: the WireGuard file for one client. */
export const clientConfig = Command.make(
  "client-config",
  {
    name: Argument.String("name").pipe(Argument.withDescription("A client of the configuration")),
    config: configFlag,
    gatewayKey: gatewayKeyFlag,
    ipv4: switchFlag("ipv4", "Leave IPv6 out, for a host that has none")
  },
  Effect.fnUntraced(function* ({ name, config: file, gatewayKey, ipv4 }) {
    const { readConfig } = yield* load(() => import("../config/readConfig.ts"))
    const config = yield* readConfig(file)
    const client = yield* clientOf(config, name, file)
    const key = yield* gatewayKeyOf(gatewayKey, config.controlSocket)
    const endpoint = yield* (yield* HostNames).lookup(config.endpoint.host)
    if (endpoint.length === 0 && grantsOf(config, client.id).some(({ resource }) => resource.kind === "cidr")) {
      yield* Console.error(
        `sallyport: ${config.endpoint.host} does not resolve here: should one of the networks in AllowedIPs contain the gateway, take its address out by hand`
      )
    }
    yield* Console.log(clientConf(config, client, { gatewayPublicKey: key, endpoint, ipv4Only: ipv4 }).trimEnd())
  })
).pipe(Command.withDescription("Print the WireGuard file for a client; its private key is for the client to fill in"))
