/** Rows that come in pages as they scroll into view. */
import { useThrottledCallback } from "@mantine/hooks";
import { keepPreviousData, useQueries, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useRefetch } from "@/api/live";

/** How often the visible pages are looked at while rows scroll. */
const SETTLE_MS = 100;

export interface RowPage<Row> {
  rows: Row[];
  total: number;
}

export interface PagedRows<Row> {
  total: number;
  rowAt: (index: number) => Row | undefined;
  onVisible: (first: number, last: number) => void;
  isLoading: boolean;
  error: unknown;
  refetch: () => void;
}

const SIZE = 50;

/** A list: `key` is the question, and another key is another list. */
export interface Paged<Page> {
  key: readonly unknown[];
  fetchPage: (offset: number, limit: number, signal: AbortSignal) => Promise<Page>;
}

/** How one page of a list is asked for. */
export function pageOf<Page>({ key, fetchPage }: Paged<Page>, page: number) {
  return {
    queryKey: [...key, page],
    queryFn: ({ signal }: { signal: AbortSignal }) => fetchPage(page * SIZE, SIZE, signal),
  };
}

/** Fetch the pages that hold what is visible. */
export function usePagedRows<Row, Page extends RowPage<Row>>(list: Paged<Page>): PagedRows<Row> & { first: Page | undefined } {
  const [range, setRange] = useState({ from: 0, to: 0 });
  const options = (page: number) => pageOf(list, page);
  const first = useQuery({ ...options(0), placeholderData: keepPreviousData });
  const wanted = Array.from({ length: range.to - range.from + 1 }, (_, i) => range.from + i).filter((page) => page > 0);
  const others = useQueries({ queries: wanted.map(options) });
  const pages = new Map(wanted.map((page, i) => [page, others[i]?.data]));
  pages.set(0, first.data);
  // Of rows that fly by, no page is asked for: it would come when they are gone.
  const onVisible = useThrottledCallback((from: number, to: number) => {
    const next = { from: Math.floor(from / SIZE), to: Math.floor(to / SIZE) };
    setRange((now) => (now.from === next.from && now.to === next.to ? now : next));
  }, SETTLE_MS);
  const refetch = useRefetch(list.key);
  return {
    first: first.data,
    total: first.data?.total ?? 0,
    rowAt: (index) => pages.get(Math.floor(index / SIZE))?.rows[index % SIZE],
    onVisible,
    isLoading: first.isPending,
    // What is there stays, when asking anew fails: the banner tells that the server is away.
    error: first.data === undefined ? first.error : null,
    refetch,
  };
}
