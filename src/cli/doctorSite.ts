/** What `doctor` makes of a gateway's site: its PostgreSQL, the clocks, and the address that clients dial. Pure. */
import { isOnThisHost, type PostgresAddress } from "../config/postgresAddress.ts"
import type { DoctorFacts, Examined, HostFacts, SiteHostFact } from "./doctorFacts.ts"
import { fail, type Judged, pass, warn } from "./doctorRow.ts"
import type { StatusReport } from "./statusReport.ts"
import { list } from "./textTable.ts"

/** That a site is away, or a gateway of it silent, is among the troubles of the gateway itself. */
export const judgeSite = (facts: DoctorFacts, wanted: Examined, host: HostFacts): ReadonlyArray<Judged> => {
  if (wanted.site === null) return []
  const hosts = judgeHosts(facts.siteHosts)
  const standing = facts.gateway._tag === "Runs" ? facts.gateway.report.site : undefined
  if (standing === undefined) return hosts
  return [
    ...hosts,
    ...judgeClock(standing),
    ...judgeReach(standing, wanted.site, wanted.advertise),
    ...judgeAddress(facts, standing, host)
  ]
}

type Standing = NonNullable<StatusReport["site"]>

const judgeHosts = (hosts: ReadonlyArray<SiteHostFact>): ReadonlyArray<Judged> => {
  const isAnyWritten = hosts.some(({ problem }) => problem === null)
  return hosts.map(({ at, isStandby, problem, tookMs }) => {
    if (problem === null) return pass(`PostgreSQL at ${at} lets itself be written to, after ${tookMs} ms`)
    // A site goes on without; and of several one is enough.
    if (!isAnyWritten) return fail(problem)
    return isStandby ? pass(`PostgreSQL at ${at} is a standby`) : warn(problem)
  })
}

const judgeReach = (
  { gateways }: Standing,
  { hosts }: PostgresAddress,
  advertise: string | null
): ReadonlyArray<Judged> => {
  if (!gateways.some(({ own }) => !own)) return []
  const near = hosts.find(({ host }) => isOnThisHost(host))
  if (advertise !== null || near === undefined) return []
  return [
    warn(
      `PostgreSQL is reached at ${near.host}, so the other gateways do not know where this one is: drain hands nothing over`,
      "add advertise: to the file, with this host's address"
    )
  ]
}

/** Stock clients take no handshake that is dated before the last one, be it another gateway's. */
const mostSkewMs = 2_000

const judgeClock = ({ postgres: { clockAheadMs } }: Standing): ReadonlyArray<Judged> => {
  if (clockAheadMs === undefined) return [warn("how this clock stands to the site's is not known: it was not met yet")]
  const apart = Math.abs(clockAheadMs)
  if (apart <= mostSkewMs) return [pass("this host's clock agrees with PostgreSQL's")]
  const seconds = `${(apart / 1_000).toFixed(1)} s ${clockAheadMs > 0 ? "ahead of" : "behind"}`
  return [
    warn(
      `this host's clock is ${seconds} PostgreSQL's: clients come over late from a gateway whose clock is ahead`,
      'keep all of them set: run "timedatectl set-ntp true" here, and there'
    )
  ]
}

const judgeAddress = (
  { endpoint }: DoctorFacts,
  { gateways, virtualAddress }: Standing,
  { ownAddresses }: HostFacts
): ReadonlyArray<Judged> => {
  if (virtualAddress === undefined) {
    return [
      warn(
        "nobody has told this gateway since its start whether it has the address that clients dial",
        'let keepalived run "sallyport vip-notify", as docs/several-gateways.md has it'
      )
    ]
  }
  const isMaster = virtualAddress.state === "MASTER"
  const own = "found" in ownAddresses ? ownAddresses.found : []
  const here = endpoint.filter((address) => own.includes(address))
  const state = `it was told ${virtualAddress.state}`
  const masters = gateways.filter(({ alive, master }) => alive && master).map(({ gateway }) => `gateway ${gateway}`)
  return [
    isMaster && here.length === 0 && endpoint.length > 0
      ? warn(
          `${state}, but this host has not ${list(endpoint)}, which clients dial`,
          "see whether what is in front of it sends them here, or whether keepalived has the address"
        )
      : !isMaster && here.length > 0
        ? warn(`${state}, but this host has ${list(here)}, which clients dial`, "see keepalived's log on each host")
        : pass(`${state}${here.length === 0 ? "" : `, and the host has ${list(here)}`}`),
    ...(masters.length === 1
      ? []
      : masters.length === 0
        ? [warn("no gateway that lives says that it has the address that clients dial", "see keepalived on each host")]
        : [
            fail(
              `${masters.join(" and ")} say that they have the address that clients dial`,
              "see whether they hear each other's VRRP"
            )
          ])
  ]
}
