import { assert, describe, it } from "@effect/vitest"
import type { GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { policyDifference } from "../../../src/control/standalone/policyDifference.ts"
import { cidrResource } from "../../support/access.ts"
import { configOf } from "../../support/standalone.ts"

const config = configOf([cidrResource("10.0.0.0/8")])

/** Another value of the same kind. */
const other = (value: unknown): unknown => {
  if (typeof value === "boolean") return !value
  if (typeof value === "number") return value + 1
  if (typeof value === "string") return `${value}x`
  if (value instanceof Map) return new Map([["other", []]])
  if (Array.isArray(value)) return value.length > 0 ? [] : [{ domain: "corp", resolver: "corp", clients: null }]
  return { host: "192.0.2.9", port: 9 }
}

const isEmpty = ({
  clients,
  ended,
  fixed,
  granted,
  resolvers,
  resources,
  settings
}: ReturnType<typeof policyDifference>) =>
  [clients, resources].every(({ added, changed, removed }) => added.length + changed.length + removed.length === 0) &&
  [ended, fixed, granted, resolvers, settings].every(({ length }) => length === 0)

describe("the difference of two policies", () => {
  it("is nothing where the file says the same", () => {
    assert.isTrue(isEmpty(policyDifference(config, configOf([cidrResource("10.0.0.0/8")]))))
  })

  // What it tells besides: what is odd in the file, and what must hold of it, changes nothing.
  const besides = new Set<keyof GatewayConfig>(["warnings", "tests"])
  const keys = (Object.keys(config) as Array<keyof GatewayConfig>).filter((key) => !besides.has(key))
  it.each(keys)("sees that %s has changed: a reload applies it, or refuses it", (key) => {
    const changed = { ...config, [key]: other(config[key]) }
    assert.isFalse(isEmpty(policyDifference(config, changed)))
  })
})
