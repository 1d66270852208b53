import * as DateTime from "effect/DateTime"
import type { GatewayConfig } from "../config/GatewayConfig.ts"
import { isOpen } from "../model/Authorization.ts"

/** A line for each resource that nobody may reach any more. */
export const expiredResources = ({ grants }: GatewayConfig, now: number): ReadonlyArray<string> => {
  const expired = grants.filter((grant) => !isOpen(grant, now))
  return expired.map(
    ({ expiresAt, resource: { id } }) =>
      `the resource ${id} expired ${DateTime.formatIso(DateTime.makeUnsafe(expiresAt!))}: nobody may reach it — write a later expires:, or remove it`
  )
}
