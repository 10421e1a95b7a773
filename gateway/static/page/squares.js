// Geometry of regions: squares `{x, y, side}` inside an image, in whole pixels of the upright image.

/** The square from one corner towards a point, reduced to fit into the image. */
export function spanned(corner, to, size) {
  const right = to.x >= corner.x;
  const down = to.y >= corner.y;
  const room = Math.min(right ? size.width - corner.x : corner.x, down ? size.height - corner.y : corner.y);
  const length = Math.round(Math.max(Math.abs(to.x - corner.x), Math.abs(to.y - corner.y)));
  const side = Math.min(Math.max(length, 1), Math.floor(room));
  return fitted({ x: right ? corner.x : corner.x - side, y: down ? corner.y : corner.y - side, side }, size);
}

/** The nearest square of whole pixels inside the image. */
export function fitted({ x, y, side }, size) {
  const max = Math.min(size.width, size.height);
  const fittedSide = Math.min(Math.max(Math.round(side) || 1, 1), max);
  return { x: inside(x, size.width - fittedSide), y: inside(y, size.height - fittedSide), side: fittedSide };
}

const inside = (value, max) => Math.min(Math.max(Math.round(value) || 0, 0), max);

/** The square of a region added without drawing: half the image, shifted by the number of existing regions. */
export function defaultSquare(count, size) {
  const shorter = Math.min(size.width, size.height);
  const shift = ((count % 5) - 2) * (shorter / 12) * (count ? 1 : 0);
  const side = shorter / 2;
  return fitted({ x: (size.width - side) / 2 + shift, y: (size.height - side) / 2 + shift, side }, size);
}

const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The square after an arrow key, which moves it or, with Shift, resizes it; null for any other key. */
export function nudged(square, key, shift, size) {
  const direction = DIRECTIONS[key];
  if (!direction) return null;
  const step = Math.max(1, Math.round(Math.min(size.width, size.height) / 50));
  const [dx, dy] = direction.map((each) => each * step);
  if (!shift) return fitted({ ...square, x: square.x + dx, y: square.y + dy }, size);
  const room = Math.min(size.width - square.x, size.height - square.y);
  return fitted({ ...square, side: Math.min(square.side + dx + dy, room) }, size);
}

/** The value of the field `regions`, with coordinates in the server's order. */
export function regionsField(squares, order) {
  return squares.map(({ x, y, side }) => (order === "yx" ? [y, x, side] : [x, y, side]).join(",")).join(";");
}
