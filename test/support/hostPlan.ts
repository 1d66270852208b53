import type { HostPlan } from "../../src/host/HostNetwork.ts"

/** A gateway on its own, as it comes. */
export const hostPlan: HostPlan = {
  device: "sally0",
  mtu: 1280,
  gateway4: "100.64.0.1",
  gateway6: "fd00:2021:1111::1",
  tunnelNetworks: ["100.64.0.0/11", "fd00:2021:1111::/107"],
  proxyNetworks: ["100.96.0.0/11", "fd00:2021:1111:8000::/107"],
  fixedRanges: false,
  keepPorts: false,
  clientsCallFirst: true,
  trackUdp: true,
  listenPort: 51820,
  dnsPort: 53,
  firewall: "nftables",
  masquerade: true
}
