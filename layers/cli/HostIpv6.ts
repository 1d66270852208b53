import * as fs from "node:fs"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { HostIpv6 } from "../../src/cli/HostIpv6.ts"
import { readWays } from "../host/ipv6WayOut.ts"
import { readText } from "../host/readText.ts"

export const layer: Layer.Layer<HostIpv6> = Layer.succeed(HostIpv6, {
  missing: Effect.sync(() => {
    const only = "a gateway here serves IPv4 only"
    if (!fs.existsSync("/proc/sys/net/ipv6")) return `this host's kernel has no IPv6: ${only}`
    if (readText("/proc/sys/net/ipv6/conf/all/disable_ipv6") === "1") {
      return `this host has IPv6 switched off (net.ipv6.conf.all.disable_ipv6=1): ${only}`
    }
    return readWays("")?.length === 0
      ? "this host has no IPv6 route: a gateway here gives names no IPv6 addresses"
      : null
  })
})
