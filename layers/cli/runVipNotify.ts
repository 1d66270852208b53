import { otherVersionMessage } from "../../src/cli/otherVersion.ts"
import { type VipNotice, vipRequest } from "../../src/cli/plainVipNotice.ts"
import { type ControlFailure, exchange, maxLineLength, silent, timeoutMs } from "./controlExchange.ts"

/** `sallyport vip-notify` as the process, without Effect: which alone takes longer to load than this takes altogether. */
export const runVipNotify = ({ socket, state }: VipNotice): void => {
  let answer = ""
  let failed = false
  const fail = ({ message }: ControlFailure): void => {
    clearTimeout(timer)
    if (failed) return
    failed = true
    process.exitCode = 1
    process.stderr.write(`sallyport: ${message}\n`)
  }
  const stop = exchange(socket, vipRequest(state), {
    chunk: (text) => (answer += text).length <= maxLineLength,
    end: () => {
      clearTimeout(timer)
      const said = textIn(answer)
      if (said === undefined) fail({ message: otherVersionMessage })
      else process.stdout.write(`${said}\n`)
    },
    fail
  })
  const timer = setTimeout(() => {
    fail(silent(socket))
    stop()
  }, timeoutMs)
}

const textIn = (json: string): string | undefined => {
  try {
    const value: unknown = JSON.parse(json)
    return typeof value === "string" ? value : undefined
  } catch {
    return undefined
  }
}
