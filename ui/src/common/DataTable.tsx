/** A table of any length: only the rows in view exist; the server pages and sorts. */
import { ArrowDown, ArrowUp } from "lucide-react";
import { memo, useCallback, useEffect, useRef, type CSSProperties, type KeyboardEvent, type ReactNode } from "react";
import css from "./DataTable.module.css";
import { useReturn } from "./returning";
import { useRowsInView } from "./rows";

/** Rows that are drawn above and below those in view. */
const OVERSCAN = 8;

export interface Column<Row> {
  id: string;
  header: string;
  /** A track of CSS grid: `80px`, `minmax(160px, 2fr)`. */
  width: string;
  align?: "right";
  /** Its name in the server's sort parameter. */
  sort?: string;
  tooltip?: string;
  /** What its cells hold; elements inside a cell are what scrolling costs, so a cell is as few of them as it can be. */
  cell: (row: Row) => ReactNode;
  /** A class of its cells, a style and a title that depend on the row. */
  className?: string;
  style?: (row: Row) => CSSProperties | undefined;
  title?: (row: Row) => string;
}

export interface Sorting {
  key: string;
  descending: boolean;
}

interface Selection {
  names: ReadonlySet<string>;
  change: (names: ReadonlySet<string>) => void;
  /** What becomes of the selected rows, where it is not what the page offers above. */
  purpose?: string;
}

interface DataTableProps<Row> {
  label: string;
  columns: Column<Row>[];
  total: number;
  /** The row at a position; undefined while its page is on the way. */
  rowAt: (index: number) => Row | undefined;
  keyOf: (row: Row) => string;
  onVisible?: (first: number, last: number) => void;
  sorting?: Sorting;
  onSort?: (sorting: Sorting) => void;
  selection?: Selection;
  rowHeight?: number;
  /** Longest height, a CSS length; the table is no higher than its rows. */
  maxHeight?: string;
}

export function DataTable<Row>(props: DataTableProps<Row>) {
  const { columns, total, rowAt, keyOf, onVisible, selection, rowHeight = 36 } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const begin = useReturn(props.label, scroller);
  const { first, last, indexes, isFlying } = useRowsInView(scroller, total, rowHeight, OVERSCAN, begin);
  useEffect(() => onVisible?.(first, last), [first, last, onVisible]);
  const chosen = useRef(selection);
  chosen.current = selection;
  const toggle = useCallback((name: string) => {
    if (chosen.current === undefined) return;
    const names = new Set(chosen.current.names);
    if (!names.delete(name)) names.add(name);
    chosen.current.change(names);
  }, []);
  const tracks = [selection ? "34px" : "", ...columns.map((column) => column.width)].join(" ");
  const shape = { "--tracks": tracks, "--row-height": `${rowHeight}px` } as CSSProperties;
  return (
    <div className={css.frame} style={{ maxHeight: props.maxHeight }} ref={scroller} tabIndex={0} role="region" aria-label={props.label}>
      <div role="table" aria-label={props.label} aria-rowcount={total + 1} className={css.table} style={shape} onKeyDown={moveFocus}>
        <div role="rowgroup" className={css.head}>
          <div role="row" aria-rowindex={1} className={css.row}>
            {selection && <SelectAll {...props} selection={selection} />}
            {columns.map((column) => (
              <Header key={column.id} column={column} sorting={props.sorting} onSort={props.onSort} />
            ))}
          </div>
        </div>
        <div role="rowgroup" className={css.body} style={{ height: total * rowHeight }}>
          {indexes.map((index) => {
            const top = index * rowHeight;
            const row = isFlying ? undefined : rowAt(index);
            if (row === undefined) return <AbsentRow key={`absent-${index}`} index={index} top={top} />;
            const name = keyOf(row);
            return (
              <TableRow
                key={name}
                row={row}
                name={name}
                index={index}
                top={top}
                columns={columns as Column<unknown>[]}
                isSelected={selection?.names.has(name)}
                toggle={toggle}
              />
            );
          })}
        </div>
      </div>
    </div>
  );
}

interface TableRowProps {
  row: unknown;
  name: string;
  index: number;
  top: number;
  columns: Column<unknown>[];
  /** Undefined where nothing can be selected. */
  isSelected: boolean | undefined;
  toggle: (name: string) => void;
}

/** A row is drawn once, not with every step of the scrolling. */
const TableRow = memo(function TableRow({ row, name, index, top, columns, isSelected, toggle }: TableRowProps) {
  return (
    <div
      role="row"
      aria-rowindex={index + 2}
      aria-selected={isSelected}
      className={css.row}
      style={{ transform: `translateY(${top}px)` }}
    >
      {isSelected !== undefined && (
        <div role="cell" className={css.check}>
          <input type="checkbox" aria-label={`Select ${name}`} checked={isSelected} onChange={() => toggle(name)} />
        </div>
      )}
      {columns.map((column) => (
        <div
          key={column.id}
          role="cell"
          className={column.className ? `${css.cell} ${column.className}` : css.cell}
          data-align={column.align}
          style={column.style?.(row)}
          title={column.title?.(row)}
        >
          {column.cell(row)}
        </div>
      ))}
    </div>
  );
});

/** A row whose page is on the way, or that flies by. */
const AbsentRow = memo(function AbsentRow({ index, top }: { index: number; top: number }) {
  return <div role="row" aria-rowindex={index + 2} aria-busy className={`${css.row} ${css.absent}`} style={{ transform: `translateY(${top}px)` }} />;
});

function Header<Row>({ column, sorting, onSort }: { column: Column<Row>; sorting?: Sorting; onSort?: (sorting: Sorting) => void }) {
  const key = column.sort;
  const isSorted = key !== undefined && sorting?.key === key;
  const Arrow = sorting?.descending ? ArrowDown : ArrowUp;
  return (
    <div
      role="columnheader"
      className={css.header}
      data-align={column.align}
      title={column.tooltip}
      aria-sort={isSorted ? (sorting.descending ? "descending" : "ascending") : undefined}
    >
      {key === undefined || !onSort ? (
        <span className="ellipsis">{column.header}</span>
      ) : (
        <button type="button" className={css.sort} onClick={() => onSort({ key, descending: isSorted && !sorting.descending })}>
          <span className="ellipsis">{column.header}</span>
          {isSorted && <Arrow size={12} />}
        </button>
      )}
    </div>
  );
}

function SelectAll<Row>({ total, rowAt, keyOf, selection }: DataTableProps<Row> & { selection: Selection }) {
  function* loaded() {
    for (let index = 0; index < total; index += 1) {
      const row = rowAt(index);
      if (row !== undefined) yield keyOf(row);
    }
  }
  const isWhole = () => {
    for (const name of loaded()) if (!selection.names.has(name)) return false;
    return true;
  };
  const isSome = selection.names.size > 0;
  const isAll = isSome && isWhole();
  return (
    <div role="columnheader" className={css.check} title={selection.purpose}>
      <input
        type="checkbox"
        aria-label="Select all"
        checked={isAll}
        ref={(box) => {
          if (box !== null) box.indeterminate = isSome && !isAll;
        }}
        onChange={() => selection.change(new Set(isAll ? [] : loaded()))}
      />
    </div>
  );
}

/** Arrows move from row to row, in the column that has the focus. */
function moveFocus(event: KeyboardEvent<HTMLDivElement>): void {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const target = event.target as HTMLElement;
  const row = target.closest<HTMLElement>('[role="row"]');
  if (step === undefined || row === null || target.matches("input:not([type=checkbox])")) return;
  const position = [...row.querySelectorAll("a, button, input")].indexOf(target);
  const wanted = Number(row.ariaRowIndex) + step;
  const next = event.currentTarget.querySelector(`[aria-rowindex="${wanted}"]`);
  const focusable = next?.querySelectorAll<HTMLElement>("a, button, input")[Math.max(0, position)];
  if (focusable === undefined) return;
  event.preventDefault();
  focusable.focus();
}
