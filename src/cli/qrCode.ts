import * as Effect from "effect/Effect"
import { ConfigError } from "../config/problem.ts"
import { load } from "./load.ts"
import { Screen } from "./showStatus.ts"

/** The WireGuard file as a QR code that this terminal can show. */
export const qrCode = Effect.fnUntraced(function* (conf: string) {
  const { renderQr } = yield* load(() => import("./renderQr.ts"))
  const code = renderQr(conf)
  if (code === null) {
    return yield* new ConfigError({ message: "the client's file is too long for a QR code — give it as a file" })
  }
  const screen = (yield* Screen)()
  if (screen === null) return code
  const width = code.indexOf("\n")
  if (screen.columns < width) {
    return yield* new ConfigError({
      message: `the QR code takes ${width} columns and the terminal has ${screen.columns} — make it wider`
    })
  }
  // Light on dark, whatever colours the terminal has.
  return screen.color ? code.replaceAll(/^.+$/gm, "\u001b[97;40m$&\u001b[0m") : code
})
