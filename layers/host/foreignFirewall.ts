/** Who is likely to take the gateway's own traffic away on its host. */
import * as fs from "node:fs"
import * as Effect from "effect/Effect"
import { enlarge, isFull } from "../../src/host/connectionTable.ts"
import type { HostPlan } from "../../src/host/HostNetwork.ts"
import { ownPaths } from "../../src/host/foreignRules.ts"
import { type ChainName, type LikelyRule, likelyRule } from "../../src/host/likelyRule.ts"
import { ownTables } from "../../src/host/pathCounters.ts"
import type { Path } from "../../src/host/pathLoss.ts"
import { acceptingLegacyRules, acceptingRules, type Blame, packetsOf } from "../../src/host/pathTrouble.ts"
import { connectionTable } from "./connectionTable.ts"
import { runCommand } from "./hostCommand.ts"
import { nftList } from "./nftables.ts"
import { readText } from "./readText.ts"

/** Who takes the packets of a way: a rule, a setting, or what is left when neither is seen. */
export const blame = Effect.fn("HostNetwork.blame")(function* (plan: HostPlan, path: Path) {
  const found = rulesFor(yield* nftList("ruleset"), plan, path)
  const sure = found.find((rule) => rule.sure)
  if (sure !== undefined) return yield* blameRule(plan, path, sure)
  const setting = settingsOf(plan, path)[0]
  if (setting !== undefined) return setting
  const legacy = legacyTables(path)
  if (legacy.length > 0) {
    return {
      likely: `a rule of ${path.family === "ipv4" ? "iptables-legacy" : "ip6tables-legacy"} (tables ${legacy.join(", ")}), which nft does not show`,
      fix: run(acceptingLegacyRules(plan, path)),
      sure: false
    }
  }
  if (found[0] !== undefined) return yield* blameRule(plan, path, found[0])
  return {
    likely: "no rule of nftables or iptables",
    fix: "look for a BPF program (bpftool net, bpftool cgroup tree), systemd's IPAddressDeny=, an IPsec policy (ip xfrm policy)",
    sure: false
  }
})

type Ruleset = Effect.Success<ReturnType<typeof nftList>>

const rulesFor = (ruleset: Ruleset, plan: HostPlan, path: Path): ReadonlyArray<LikelyRule> =>
  packetsOf(plan, path).flatMap((packet) => likelyRule(ruleset, packet, ownTables(plan.device)) ?? [])

/**
 * The rules of others that would take packets of the gateway's ways, before any are lost, each with the ways that it is
 * about. Rules that take some packets only, by what is not known of them, are taken to be meant.
 */
export const takersOf = Effect.fnUntraced(function* (plan: HostPlan) {
  const ruleset = yield* nftList("ruleset")
  /** By rule and way: one rule takes packets of many kinds, and nft is asked for its text. */
  const blames = new Map<string, Blame>()
  const takers = new Map<string, { readonly blame: Blame; readonly paths: Array<Path> }>()
  for (const path of ownPaths(plan)) {
    for (const rule of rulesFor(ruleset, plan, path)) {
      if (rule.conditional) continue
      const asked = JSON.stringify([path.way, rule])
      const blame = blames.get(asked) ?? (yield* blameRule(plan, path, rule))
      blames.set(asked, blame)
      const key = JSON.stringify(blame)
      takers.set(key, { blame, paths: [...(takers.get(key)?.paths ?? []), path] })
    }
  }
  return [...takers.values()]
})

const blameRule = Effect.fnUntraced(function* (
  plan: HostPlan,
  { way }: Path,
  { base, chain, handle, sure }: LikelyRule
) {
  const where = nameOf(chain)
  const text = handle === null ? null : yield* ruleText(chain, handle)
  const likely =
    text === null
      ? `the policy "drop" of the firewall chain "${where}"`
      : `the rule "${text}" of the firewall chain "${where}"`
  return { likely, fix: run(acceptingRules(plan, way, base)), sure } satisfies Blame
})

const run = (commands: ReadonlyArray<string>): string =>
  commands.length === 0 ? "let it through" : `run ${commands.map((command) => `"${command}"`).join(" and ")}`

const nameOf = ({ family, name, table }: ChainName): string => `${family} ${table} ${name}`

/** The rule as nft writes it, without its counters; its JSON is not for reading. */
const ruleText = (chain: ChainName, handle: number) =>
  runCommand("nft", ["-a", "-s", "list", "chain", chain.family, chain.table, chain.name]).pipe(
    Effect.map((text) => {
      const line = text.split("\n").find((candidate) => candidate.endsWith(`# handle ${handle}`))
      return line === undefined ? `handle ${handle}` : line.slice(0, line.lastIndexOf("#")).trim().replaceAll('"', "")
    }),
    Effect.orElseSucceed(() => `handle ${handle}`)
  )

/** How full it is changes, who is to blame does not. */
const fullTable = (): ReadonlyArray<Blame> => {
  const table = connectionTable()
  if (table === null || !isFull(table)) return []
  const likely = `the host's connection table, which is full (net.netfilter.nf_conntrack_max is ${table.most})`
  return [{ likely, fix: enlarge(table), sure: false }]
}

/** Settings that keep packets from being forwarded, or drop them for where they come from. */
const settingsOf = (plan: HostPlan, { family, way }: Path): ReadonlyArray<Blame> => {
  if (way === "begin") return fullTable()
  if (way !== "route" && way !== "return" && way !== "arrive") return []
  const net = family === "ipv4" ? "ipv4" : "ipv6"
  const devices = way === "route" ? [plan.device] : devicesOf(net).filter((d) => d !== plan.device)
  const found: Array<Blame> = []
  const all = `net.${net}.conf.all.forwarding`
  if (way !== "arrive") {
    for (const name of [all, ...devices.map((device) => `net.${net}.conf.${device}.forwarding`)]) {
      if (sysctl(name) === "0")
        found.push({ likely: `${name}, which is 0`, fix: run([`sysctl -w ${name}=1`]), sure: true })
    }
  }
  if (net === "ipv4") {
    for (const device of devices) {
      const strict = ["all", device].find((d) => sysctl(`net.ipv4.conf.${d}.rp_filter`) === "1")
      const loose = ["all", device].some((d) => sysctl(`net.ipv4.conf.${d}.rp_filter`) === "2")
      if (strict === undefined || loose) continue
      found.push({
        likely: `the reverse path filter of ${device} (net.ipv4.conf.${strict}.rp_filter is 1), which drops what comes by another way than answers leave`,
        fix: run([`sysctl -w net.ipv4.conf.${device}.rp_filter=2`]),
        sure: false
      })
    }
  }
  return found
}

const devicesOf = (net: string): ReadonlyArray<string> => {
  try {
    return fs.readdirSync(`/proc/sys/net/${net}/conf`).filter((name) => !["all", "default", "lo"].includes(name))
  } catch {
    return []
  }
}

const sysctl = (name: string): string => readText(`/proc/sys/${name.replaceAll(".", "/")}`) ?? ""

/** Tables that were loaded by iptables-legacy. */
const legacyTables = ({ family }: Path): ReadonlyArray<string> =>
  (readText(`/proc/net/${family === "ipv4" ? "ip_tables_names" : "ip6_tables_names"}`) ?? "")
    .split("\n")
    .filter((line) => line !== "")
