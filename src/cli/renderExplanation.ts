import type { Explanation } from "./explanation.ts"
import type { ScreenSize } from "./renderStatus.ts"
import { wrap } from "./textTable.ts"

const marks = { yes: "✔", no: "✘", unknown: "?" } as const
const colors = { yes: 32, no: 31, unknown: 33 } as const

/** A line for each step, what to do below the one that stops the packet, and what it comes to. */
export const renderExplanation = (
  { client, reaches, steps, target }: Explanation,
  screen: ScreenSize | null
): string => {
  const width = screen?.columns ?? Number.POSITIVE_INFINITY
  const paint = (ok: keyof typeof colors, text: string) =>
    screen?.color === true ? `\u001b[${colors[ok]}m${text}\u001b[0m` : text
  const lines = steps.flatMap(({ fix, ok, what }) => {
    const [first = "", ...more] = wrap(`${marks[ok]} ${what}`, width, 2)
    const next = fix === null ? [] : wrap(`→ ${fix}`, width - 2, 2).map((line) => `  ${line}`)
    return [paint(ok, first), ...more, ...next]
  })
  const ends = {
    yes: `${client} reaches ${target}`,
    no: `${client} does not reach ${target}`,
    unknown: `whether ${client} reaches ${target} is not known`
  }
  return [...lines, paint(reaches, ends[reaches])].join("\n")
}
