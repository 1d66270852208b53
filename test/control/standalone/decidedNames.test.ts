import { assert, describe, it } from "@effect/vitest"
import { DecidedNames } from "../../../src/control/standalone/decidedNames.ts"
import { NameRoutes, rightsOf } from "../../../src/control/standalone/nameRoutes.ts"
import { maxNames } from "../../../src/control/standalone/nameTable.ts"
import { dnsResource } from "../../support/access.ts"
import { configOf } from "../../support/standalone.ts"

const config = configOf([dnsResource("**.corp")])
const routes = new NameRoutes(config)
const client = config.clients[0]!.id
const rights = rightsOf(client, config.grants)
const grants = rights.names

describe("what was decided about a client's name", () => {
  it("holds as long as the grants that cover the name, whichever way the clock goes", () => {
    const names = new DecidedNames()
    const [grant] = grants
    const dated = [{ ...grant!, expiresAt: 2_000 }, grant!, { ...grant!, expiresAt: 3_000 }]
    names.note("git.corp", routes, rights, 1_000, dated)
    const holds = (now: number) => names.find("git.corp", routes, rights, now) === dated
    assert.deepStrictEqual([999, 1_000, 1_999, 2_000].map(holds), [false, true, true, false])
    assert.isUndefined(names.find("other.corp", routes, rights, 1_000))
  })

  it("holds for ever where nothing has a date", () => {
    const names = new DecidedNames()
    names.note("git.corp", routes, rights, 0, grants)
    assert.strictEqual(names.find("git.corp", routes, rights, 1e15), grants)
  })

  it("does not outlive the configuration that it was decided by", () => {
    const names = new DecidedNames()
    names.note("git.corp", routes, rights, 0, grants)
    const [otherRoutes, otherRights] = [new NameRoutes(config), rightsOf(client, config.grants)]
    assert.isUndefined(names.find("git.corp", otherRoutes, rights, 0))
    assert.isUndefined(names.find("git.corp", routes, otherRights, 0))
    names.note("new.corp", routes, otherRights, 0, grants)
    assert.isUndefined(names.find("git.corp", routes, otherRights, 0))
    assert.isUndefined(names.find("git.corp", routes, rights, 0))
    assert.strictEqual(names.find("new.corp", routes, otherRights, 0), grants)
  })

  it("is kept of the last names only, as many as a client may have", () => {
    const names = new DecidedNames()
    for (let n = 0; n <= maxNames; n++) names.note(`n${n}.corp`, routes, rights, 0, grants)
    assert.isUndefined(names.find("n0.corp", routes, rights, 0))
    assert.isDefined(names.find("n1.corp", routes, rights, 0))
  })
})
