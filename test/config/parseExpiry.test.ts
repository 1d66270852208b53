import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { parseExpiry } from "../../src/config/values.ts"

const value = (text: string): number | undefined => Result.getOrUndefined(parseExpiry(text))

describe("an expiry", () => {
  // The first four are the examples of RFC 3339 §5.8.
  it.each([
    ["1985-04-12T23:20:50.52Z", "1985-04-12T23:20:50.520Z"],
    ["1996-12-19T16:39:57-08:00", "1996-12-20T00:39:57.000Z"],
    ["1990-12-31T15:59:60-08:00", "1991-01-01T00:00:00.000Z"],
    ["1937-01-01T12:00:27.87+00:20", "1937-01-01T11:40:27.870Z"],
    ["2027-01-31", "2027-01-31T00:00:00.000Z"],
    ["2028-02-29", "2028-02-29T00:00:00.000Z"],
    ["2027-01-31T18:00", "2027-01-31T18:00:00.000Z"],
    ["2027-01-31 18:00:01", "2027-01-31T18:00:01.000Z"],
    ["2027-01-31t18:00:00z", "2027-01-31T18:00:00.000Z"],
    ["2027-01-31T18:00:00-00:00", "2027-01-31T18:00:00.000Z"],
    ["2027-01-31T18:00:00.1234567899Z", "2027-01-31T18:00:00.123Z"],
    ["2027-01-31T18:00:00.9+05:30", "2027-01-31T12:30:00.900Z"]
  ])("%s is %s", (text, expected) => {
    assert.strictEqual(new Date(value(text) ?? Number.NaN).toISOString(), expected)
  })

  it.each([
    "2027-02-29",
    "2027-13-01",
    "2027-00-10",
    "2027-01-00",
    "2027-01-31T24:00:00Z",
    "2027-01-31T18:60Z",
    "2027-01-31T18:00:61Z",
    "2027-01-31T18:00:00.Z",
    "2027-01-31T18:00.5Z",
    "2027-01-31T18Z",
    "2027-01-31Z",
    "2027-01-31T18:00:00+24:00",
    "2027-01-31T18:00:00+05:60",
    "2027-01-31T18:00:00+0530",
    "27-01-31",
    " 2027-01-31",
    "soon"
  ])("%s is none", (text) => {
    assert.isUndefined(value(text))
  })

  it.prop(
    "is read as the clock writes it",
    [Schema.Int.check(Schema.isBetween({ minimum: -62_135_596_800_000, maximum: 253_402_300_799_999 }))],
    ([at]) => {
      assert.strictEqual(value(new Date(at).toISOString()), at)
    }
  )
})
