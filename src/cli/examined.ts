/** What a gateway of either kind wants of its host, by what it is configured with. */
import { gatewayAddress } from "../config/assignAddresses.ts"
import type { FirezoneConfig } from "../config/firezoneConfig.ts"
import type { GatewayConfig } from "../config/GatewayConfig.ts"
import { portalEndpoint } from "../control/firezone/hostPort.ts"
import * as Portal from "../control/firezone/tunnelPlan.ts"
import * as Standalone from "../control/standalone/tunnelPlan.ts"
import { hostPlanOf } from "../host/Tunnel.ts"
import { defaultRanges } from "../model/defaultRanges.ts"
import type { Examined } from "./doctorFacts.ts"
import { routedNetworks } from "./endpointInside.ts"

export const examinedFile = (config: GatewayConfig): Examined => {
  const { advertise, device, endpoint, listenHttp, listenPort, network, resolvers, state, stateDir } = config
  const plan = hostPlanOf(Standalone.tunnelPlanOf(config), { device, mtu: network.mtu, listenPort })
  const routed = routedNetworks(config)
  return { kind: "file", plan, stateDir, listenHttp, resolvers, endpoint, routed, site: state, advertise }
}

/** Which addresses of its range the portal gives the gateway is not known before it is asked; any will do here. */
export const examinedPortal = (config: FirezoneConfig): Examined => {
  const { apiUrl, device, listenHttp, listenPort, mtu, stateDir } = config
  const [gateway4, gateway6] = [gatewayAddress(defaultRanges.tunnel4), gatewayAddress(defaultRanges.tunnel6)]
  const plan = hostPlanOf(Portal.tunnelPlanOf(config, gateway4, gateway6), { device, mtu, listenPort })
  const routed = routedNetworks({ network: defaultRanges, resources: [] })
  const endpoint = portalEndpoint(apiUrl)
  return {
    kind: "portal",
    plan,
    stateDir,
    listenHttp,
    resolvers: new Map(),
    endpoint,
    routed,
    site: null,
    advertise: null
  }
}
