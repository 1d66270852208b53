/**
 * How long to leave a relay alone after it failed `failures` times in a row, in milliseconds: from 1 s to 60 s when it
 * does not answer, from 1 min to 10 min when it says no. `random` in [0, 1) spreads that by ±20 %.
 */
export const backOff = (
  reason: "Unreachable" | "WrongCredentials" | "Refused",
  failures: number,
  random: number
): number => {
  const [first, longest] = reason === "Unreachable" ? [1_000, 60_000] : [60_000, 600_000]
  const doubled = first * 2 ** Math.min(Math.max(failures, 1) - 1, 20)
  return Math.round(Math.min(doubled, longest) * (0.8 + 0.4 * random))
}
