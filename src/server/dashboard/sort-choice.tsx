import type { RowOrder } from './row-order.js';
import type { GridColumn } from './virtual-grid.js';

interface SortChoiceProps<Row, Column extends string> {
  readonly columns: readonly GridColumn<Row, Column>[];
  readonly order: RowOrder<Column>;
  readonly onSort: (column: Column) => void;
}

/** The order of a table in a narrow window, in which the heads of the columns have no room. The style sheet hides it in others. */
export function SortChoice<Row, Column extends string>({ columns, order, onSort }: SortChoiceProps<Row, Column>) {
  return (
    <div class="sort-choice">
      <label>
        Sort by{' '}
        <select value={order.column} onChange={(event) => onSort(event.currentTarget.value as Column)}>
          {columns.map(({ id, title, isSortable }) => isSortable && <option value={id}>{title}</option>)}
        </select>
      </label>
      <button type="button" onClick={() => onSort(order.column)}>
        {order.isDescending ? 'Descending' : 'Ascending'}
      </button>
    </div>
  );
}
