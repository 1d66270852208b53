import { utf8 } from "./Target.ts"

/** What readers of JSON stumble over. */
export const jsonWords: ReadonlyArray<Uint8Array> = utf8(
  "null",
  "1e309",
  "-0",
  '"\\ud800"',
  '"__proto__":',
  '"constructor":',
  "[[[[[[[[",
  "\\u0000",
  "0.0.0.0/0",
  "::/0",
  '"internet"',
  '"**"',
  "65536",
  "1.5",
  "\u001b[2J"
)
