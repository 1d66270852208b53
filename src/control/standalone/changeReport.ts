/** A difference of policies in names, as an operator is told. Pure. */
import * as DateTime from "effect/DateTime"
import type { Authorization } from "../../model/Authorization.ts"
import { formatPortFilters } from "../../model/PortFilter.ts"
import type { ReloadReport } from "../Registry.ts"
import { countGrants, type GrantChange, kindOfChange, type PolicyDifference } from "./policyDifference.ts"

export type ChangeReport = Pick<ReloadReport, "clients" | "resources" | "grants" | "resolvers" | "settings">

export const changeReport = ({ clients, grants, resolvers, resources, settings }: PolicyDifference): ChangeReport => ({
  clients: { ...clients, added: named(clients.added), changed: named(clients.changed) },
  resources,
  grants: { ...countGrants(grants), named: grants.slice(0, maxNamed).map(nameGrant) },
  resolvers,
  settings
})

const named = (list: ReadonlyArray<{ readonly id: string }>) => list.map(({ id }) => id)

/** Grants that a report names. */
const maxNamed = 100

const nameGrant = (grant: GrantChange): ReloadReport["grants"]["named"][number] => {
  const { after, before, client, resource } = grant
  const was = before === null ? null : describeGrant(before)
  const allows = after === null ? was! : describeGrant(after)
  return { client, resource, change: kindOfChange(grant), allows, before: was === allows ? null : was }
}

const describeGrant = ({ expiresAt, resource }: Authorization): string => {
  const ports = formatPortFilters(resource.filters)
  return expiresAt === null ? ports : `${ports}, until ${DateTime.formatIso(DateTime.makeUnsafe(expiresAt))}`
}
