import { assert, it } from "@effect/vitest"
import { lackOf } from "../../../layers/lab/requirements.ts"

it("says in one line what the machine lacks for the demo, and the fix", () => {
  assert.isNull(lackOf({ root: true, tun: "usable" }))
  assert.match(lackOf({ root: false, tun: "denied" }) ?? "", /sudo/)
  assert.match(lackOf({ root: true, tun: "missing" }) ?? "", /modprobe tun/)
  assert.match(lackOf({ root: true, tun: "denied" }) ?? "", /\/dev\/net\/tun/)
})
