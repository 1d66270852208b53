import { assert, describe, it } from "@effect/vitest"
import type { GatewayConfig } from "../../../src/config/GatewayConfig.ts"
import { policyDifference } from "../../../src/control/standalone/policyDifference.ts"
import { authorizationsOf } from "../../../src/model/Grant.ts"
import { cidrResource } from "../../support/access.ts"
import { randomPolicy } from "../../support/randomPolicy.ts"
import { configOf } from "../../support/standalone.ts"
import { makeRandom } from "../../support/traffic.ts"

const config = configOf([cidrResource("10.0.0.0/8")])

/** Another value of the same kind. */
const other = (value: unknown): unknown => {
  if (typeof value === "boolean") return !value
  if (typeof value === "number") return value + 1
  if (typeof value === "string") return `${value}x`
  if (value instanceof Map) return new Map([["other", []]])
  if (Array.isArray(value)) return value.length > 0 ? [] : [{ domain: "corp", resolver: "corp", clients: null }]
  return { host: "192.0.2.9", port: 9, elsewhere: [] }
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

  it("sees whose a right at another site is", () => {
    const [grant] = config.grants
    const { endpoint, gateway4, gateway6 } = config
    const tokyo = { name: "tokyo", number: 1, endpoint, publicKey: "", gateway4, gateway6 }
    const withClients = (clients: GatewayConfig["clients"]): GatewayConfig => ({
      ...config,
      sites: { own: { ...tokyo, name: "berlin" }, all: [tokyo], elsewhere: [{ ...grant!, clients, site: tokyo }] }
    })
    const { clients } = config
    assert.isNotEmpty(clients)
    assert.isTrue(isEmpty(policyDifference(withClients(clients), withClients([...clients]))))
    assert.deepStrictEqual(policyDifference(withClients(clients), withClients([])).settings, ["sites"])
  })

  it("has each grant that is new, gone or another, in whatever order the files have them", () => {
    const random = makeRandom(15)
    const shuffled = <A>(items: ReadonlyArray<A>): ReadonlyArray<A> =>
      items
        .map((item) => ({ item, at: random.below(1_000_000) }))
        .toSorted((a, b) => a.at - b.at)
        .map(({ item }) => item)
    const policy = (): GatewayConfig => {
      const { clients, grants, resources, ...rest } = randomPolicy(random)
      const among = grants.map((grant) => ({ ...grant, clients: shuffled(grant.clients) }))
      return { ...rest, clients: shuffled(clients), resources: shuffled(resources), grants: shuffled(among) }
    }
    const keyed = ({ grants }: GatewayConfig) =>
      new Map(grants.flatMap(authorizationsOf).map((grant) => [`${grant.client.id} has ${grant.resource.id}`, grant]))
    for (let i = 0; i < 500; i++) {
      const [before, after] = [policy(), policy()]
      const { grants, resources } = policyDifference(before, after)
      const [then, now] = [keyed(before), keyed(after)]
      const expected = [...new Set([...then.keys(), ...now.keys()])].flatMap((key) => {
        const [was, is] = [then.get(key), now.get(key)]
        const isSame =
          was !== undefined && was.expiresAt === is?.expiresAt && !resources.changed.includes(is.resource.id)
        return isSame ? [] : [[key, was ?? null, is ?? null] as const]
      })
      assert.sameDeepMembers(
        grants.map((change) => [`${change.client} has ${change.resource}`, change.before, change.after] as const),
        expected
      )
    }
  })

  // What it tells besides: what is odd in the file, and what must hold of it, changes nothing.
  const besides = new Set<keyof GatewayConfig>(["warnings", "tests"])
  const keys = (Object.keys(config) as Array<keyof GatewayConfig>).filter((key) => !besides.has(key))
  it.each(keys)("sees that %s has changed: a reload applies it, or refuses it", (key) => {
    const changed = { ...config, [key]: other(config[key]) }
    assert.isFalse(isEmpty(policyDifference(config, changed)))
  })
})
