/** The gateway's own rules in chains of others. */
import type { HostPlan } from "./HostNetwork.ts"
import { type KnownPacket, likelyRule } from "./likelyRule.ts"
import { at, textAt } from "./nftJson.ts"
import { ownTables } from "./pathCounters.ts"
import type { Path } from "./pathLoss.ts"
import { packetsOf } from "./pathTrouble.ts"

type Entries = ReadonlyArray<Readonly<Record<string, unknown>>>

export interface WantedRule {
  /** Where it goes to: "inet firewalld filter_FORWARD". */
  readonly chain: string
  /** A line for `nft -f`. */
  readonly rule: string
}

/** What is to be accepted: what the gateway's own table has let through before. iptables can read these rules, too. */
const matches = (plan: HostPlan): ReadonlyArray<readonly [Path, match: string]> =>
  (["ipv4", "ipv6"] as const).flatMap((family) => {
    const path = (way: Path["way"], protocol: Path["protocol"]): Path => ({ way, family, protocol, device: "" })
    const { device, listenPort } = plan
    return [
      [path("forward", "tcp"), `iifname "${device}"`],
      [path("forward", "udp"), `iifname "${device}"`],
      [path("forward", "icmp"), `iifname "${device}"`],
      [path("back", "tcp"), `oifname "${device}"`],
      [path("service", "udp"), `iifname "${device}"`],
      [path("service", "tcp"), `iifname "${device}"`],
      [path("service", "icmp"), `iifname "${device}"`],
      [path("answer", "udp"), `oifname "${device}"`],
      [path("arrive", "udp"), `udp dport ${listenPort}`],
      [path("send", "udp"), `udp sport ${listenPort}`]
    ] as const
  })

/** All ways of the gateway's traffic that rules of others may be on. */
export const ownPaths = (plan: HostPlan): ReadonlyArray<Path> => matches(plan).map(([path]) => path)

/**
 * The rules for the chains that would take the gateway's packets, first of their hooks only: what comes behind them shows
 * when these are there. A rule whose conditions are not known (a limit, a mark) is meant as it is.
 */
export const wantedRules = (entries: Entries, plan: HostPlan): ReadonlyArray<WantedRule> => {
  const wanted = new Map<string, WantedRule>()
  const look = (packet: KnownPacket, match: string) => {
    const found = likelyRule(entries, packet, ownTables(plan.device))
    if (found === null || found.conditional) return
    const chain = `${found.base.family} ${found.base.table} ${found.base.name}`
    const rule = `insert rule ${chain} ${match} accept comment "${commentOf(plan.device)}"`
    wanted.set(rule, { chain, rule })
  }
  for (const [path, match] of matches(plan)) for (const packet of packetsOf(plan, path)) look(packet, match)
  return [...wanted.values()]
}

/** Rules that a gateway has added, and the lines for `nft -f` that take them away. */
export const ownRules = (entries: Entries): ReadonlyArray<{ readonly device: string; readonly removal: string }> =>
  entries.flatMap(({ rule }) => {
    const comment = textAt(rule, "comment")
    if (!comment.startsWith(prefix)) return []
    const device = comment.slice(prefix.length)
    const [family, table, chain] = [textAt(rule, "family"), textAt(rule, "table"), textAt(rule, "chain")]
    return [{ device, removal: `delete rule ${family} ${table} ${chain} handle ${String(at(rule, "handle"))}` }]
  })

/** No comment that an operator would write: what bears it is deleted. */
const prefix = "added by sallyport for "
const commentOf = (device: string): string => prefix + device
