import { assert, describe, it } from "@effect/vitest"
import { chooseEndpoint } from "../../src/host/endpointChoice.ts"

const at = (address: string) => ({ address, port: 51820 })
const [a, b, c] = [at("192.0.2.1"), at("192.0.2.2"), at("2001:db8::3")]

describe("where a client dials while nobody answers", () => {
  it("goes on where it is while the name says so, and leaves at once what the name no longer has", () => {
    assert.isNull(chooseEndpoint(a, [a], 99))
    assert.deepStrictEqual(chooseEndpoint(a, [b, c], 1), b)
    assert.isNull(chooseEndpoint(a, [], 9))
  })

  it("tries the addresses of a name in turns, three initiations each", () => {
    assert.isNull(chooseEndpoint(b, [a, b, c], 2))
    assert.deepStrictEqual(chooseEndpoint(b, [a, b, c], 3), c)
    assert.deepStrictEqual(chooseEndpoint(c, [a, b, c], 3), a)
  })
})
