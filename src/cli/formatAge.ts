/** `12 s`, `5 min 3 s`, `2 h 4 min`, `3 d 7 h`. */
export const formatAge = (ms: number): string => {
  const s = Math.max(0, Math.floor(ms / 1000))
  if (s < 60) return `${s} s`
  if (s < 3600) return two(Math.floor(s / 60), "min", s % 60, "s")
  if (s < 86_400) return two(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min")
  return two(Math.floor(s / 86_400), "d", Math.floor((s % 86_400) / 3600), "h")
}

const two = (large: number, unit: string, small: number, smallUnit: string): string =>
  small === 0 ? `${large} ${unit}` : `${large} ${unit} ${small} ${smallUnit}`
